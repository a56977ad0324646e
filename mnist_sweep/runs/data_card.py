"""What a net must know of the data that it was trained on, in its run's directory as data.json."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_sweep.errors import UserError
from mnist_sweep.paths import DATA_CARD
from mnist_sweep.sets.shape import MNIST_SHAPE, DataShape
from mnist_sweep.writing import write_whole

if TYPE_CHECKING:
    from mnist_sweep.sets.dataset import Dataset


@dataclass(frozen=True)
class DataCard:
    name: str
    """Of the set really used."""
    image: tuple[int, int, int]
    """Channels, height, width."""
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each channel's pixels, scaled to 0..1."""

    @classmethod
    def of(cls, data: "Dataset") -> "DataCard":
        return cls(data.name, data.shape.image, data.class_names, data.mean, data.std)

    @property
    def shape(self) -> DataShape:
        return DataShape(*self.image, len(self.class_names))

    def write(self, run_dir: Path) -> None:
        write_whole(run_dir / DATA_CARD, json.dumps(asdict(self), indent=1) + "\n")


def read_card(run_dir: Path) -> DataCard | None:
    """None where the run has left none, as those of earlier versions, which were all on sets of
    MNIST's shape.

    Raises:
        UserError: it is damaged.
    """
    path = run_dir / DATA_CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        channels, height, width = map(int, card["image"])
        mean, std = (tuple(map(float, card[name])) for name in ("mean", "std"))
        names = tuple(map(str, card["class_names"]))
        return DataCard(str(card["name"]), (channels, height, width), names, mean, std)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); choose another run") from error


def shape_for(run_dir: Path) -> DataShape:
    """Of the data that the run was trained on.

    Raises:
        UserError: as `read_card`.
    """
    card = read_card(run_dir)
    return MNIST_SHAPE if card is None else card.shape
