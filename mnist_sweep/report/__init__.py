"""Reading results back: tables, statistics, pictures, a page. `python -m mnist_sweep.report`."""
