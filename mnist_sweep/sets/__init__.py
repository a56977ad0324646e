"""Data sets as tensors: where each kind comes from, and what it has to be."""
