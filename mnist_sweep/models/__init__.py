"""Networks. Input (B, C, H, W), normalised; output (B, K), logits: MNIST's are (B, 1, 28, 28) and
(B, 10). A class that takes `in_channels`, `num_classes` or `image_size` is told them.

Two of the published nets end in a log-softmax. It is left out: cross-entropy on logits is the
same function as NLL on log-softmax, and log-softmax is idempotent, so loss, gradients and
predictions do not change.
"""
