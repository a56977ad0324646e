"""The one spelling of every file and folder, the config files' included."""

from pathlib import Path

PACKAGE = Path(__file__).parent
# Inside the package once installed, beside it in a checkout.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())

MAIN_CONFIG = "config"

# Choices that only an experiment uses. A prefix and not a folder: since Hydra 1.4 a defaults list
# reads `override /optimizer: published/x` as a choice of another group, `optimizer/published`.
RECIPE_PARTS = ("published_", "ours_")

# In the folder in which a command is started.
OUTPUTS = Path("outputs")
MULTIRUN = Path("multirun")

RESULTS_TABLE = "results.csv"
MAIN_TABLE = OUTPUTS / RESULTS_TABLE

# In a run's directory.
RESULT = "result.json"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.pt"
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
