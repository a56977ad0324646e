"""What a net has to know of its data. Imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataShape:
    channels: int
    height: int
    width: int
    """Of an image, in pixels."""
    num_classes: int

    @property
    def image(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def side(self) -> int:
        """The shorter one."""
        return min(self.height, self.width)

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}, {self.num_classes} classes"


MNIST_SHAPE = DataShape(channels=1, height=28, width=28, num_classes=10)
"""Of MNIST, and of all sets in its layout."""
