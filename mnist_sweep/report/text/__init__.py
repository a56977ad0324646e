"""Tables as text: what is in them, in a terminal, to paste, and for programs."""
