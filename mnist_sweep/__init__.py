"""Hydra-configured sweeps over small CNNs on MNIST, under a parameter budget."""

__version__ = "0.1.0"
