"""A run: what it does, what it leaves behind, and how it is found again."""
