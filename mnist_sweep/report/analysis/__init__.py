"""What may be said of runs: plain data for the tables, the pictures and the page."""
