"""Reading: results tables, run directories and studies as typed frames."""
