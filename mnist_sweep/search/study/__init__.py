"""What is remembered: the study in its storage, and how several controllers share it."""
