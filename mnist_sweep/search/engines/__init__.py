"""Where a search's runs are trained: in this process, or in a pool of processes."""
