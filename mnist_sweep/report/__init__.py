"""Reading results back: tables, statistics, pictures, a page. `python -m mnist_sweep.report`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_sweep.report.read.load import load_results

__all__ = ["load_results"]


def __getattr__(name: str) -> Any:
    """Late, because `--help` needs no pandas, and pandas takes half a second to import."""
    if name == "load_results":
        from mnist_sweep.report.read.load import load_results

        return load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
