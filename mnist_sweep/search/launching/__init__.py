"""Where a search's workers come from that are no processes of its own. `staff` is the interface."""
