"""What becomes of a trial, and what its runs leave behind."""
