"""Pictures: plain data in, a matplotlib Figure out, which `saving.save` writes.

No pyplot, hence no state: the same data give the same bytes. Accuracies come as fractions of 1 and
are shown in percent. No text is read as mathematics, whatever dollar signs it has.
"""
