"""Networks. Input (B, 1, 28, 28), normalised; output (B, 10), logits.

Two of the published nets end in a log-softmax. It is left out: cross-entropy on logits is the
same function as NLL on log-softmax, and log-softmax is idempotent, so loss, gradients and
predictions do not change.
"""
