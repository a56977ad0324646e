"""Tracks: which runs may be compared."""

from typing import Any

import pandas as pd

TRACK = ["data", "protocol", "val_images", "test_images", "debug"]
"""Runs that differ in one of these are never in one ranking."""


def track_name(line: Any) -> str:
    """What the runs of a track have in common. line: has TRACK's columns as attributes."""
    images = [
        f"{count:,} {kind}"
        for kind, count in (("val", line.val_images), ("test", line.test_images))
        if not pd.isna(count)
    ]
    parts = [
        *("?" if pd.isna(name) else str(name) for name in (line.data, line.protocol)),
        *([f"{' and '.join(images)} images"] if images else []),
        *([] if pd.isna(line.debug) else [f"debug={line.debug}"]),
    ]
    return ", ".join(parts)
