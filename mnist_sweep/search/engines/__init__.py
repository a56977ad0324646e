"""Where a search's runs are trained. `engine` is the interface; the others are implementations."""
