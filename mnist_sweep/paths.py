"""The one spelling of every file and folder, the config files' included."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def _config_root(name: str) -> Path:
    """Inside the package once installed, beside it in a checkout."""
    inside, beside = PACKAGE / name, PACKAGE.parent / name
    return inside if inside.is_dir() else beside


CONF = _config_root("conf")
RECIPES = _config_root("recipes")

MAIN_CONFIG = "config"

# In the folder in which a command is started.
OUTPUTS = Path("outputs")
MULTIRUN = Path("multirun")

RESULTS_TABLE = "results.csv"
MAIN_TABLE = OUTPUTS / RESULTS_TABLE

# In a run's directory.
RESULT = "result.json"
HISTORY = "history.csv"
DATA_CARD = "data.json"
CHECKPOINT = "checkpoint.pt"
SO_FAR = "so_far.json"
"""Beside the checkpoint, and removed with it: when the run began, and its seconds up to there."""
MODEL = "model.pt"
RUN_CONFIG = Path(".hydra") / "config.yaml"
RUN_HYDRA = Path(".hydra") / "hydra.yaml"
RUN_OVERRIDES = Path(".hydra") / "overrides.yaml"
JOB_OUTPUT = "output.log"
"""Of a search's run: what a single run would print."""
PREDICTIONS = "predictions.csv"
CONFUSION = "confusion.png"
MISTAKES = "misclassified.png"

# In a sweep's directory, beside its results table.
SWEEP_CONFIG = "multirun.yaml"
JOURNAL = "study.journal"
BEST_TRIALS = "optimization_results.yaml"
WORKERS = ".workers"
"""Folder of what a search's workers need."""
INVITATION = Path(WORKERS) / "invitation.json"
"""For workers: where the search is, and the key to it, so that only the user may read it."""
