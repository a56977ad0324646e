"""The commands of `python -m mnist_sweep.report`, a file each."""
