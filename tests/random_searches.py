"""Random command lines of searches: keys, samplers, spaces, storages, launchers, often wrong."""

import random
from collections.abc import Sequence

from mnist_sweep.blame import key_of
from tests.conftest import choices
from tests.random_lines import BASE, VALUES, random_override

SEARCH = (
    *("-m", "hydra/sweeper=search", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"),
    *("hydra.sweeper.max_minutes=0.1", "hydra.sweeper.study_name=s"),
    *("optimizer.lr=tag(log,interval(0.001,0.1))", *BASE),
)
"""A search of a moment."""

SAMPLERS = (
    *("tpe", "tpe_multivariate", "random", "cmaes", "nsgaii", "nsgaiii", "motpe", "grid", "gp"),
    *("qmc", "brute_force", "none", "x"),
)
PRUNERS = (*choices("hydra/sweeper/pruner"), "x", "null")
OBJECTIVES = (
    *("val_acc", "val_loss", "num_params", "macs", "test_acc", "receptive_field", "train_seconds"),
    *("[val_acc,num_params]", "[val_acc]", "[val_acc,val_acc]", "[]", "[val_acc,x]", "seed"),
)
STORAGES = (
    *("sqlite:///x.db", "sqlite:///no/such/x.db", "sqlite://", "sqlite:////dev/null", "x.db"),
    *("postgresql+psycopg://u:secret@127.0.0.1:9/x", "mysql://127.0.0.1:9/x", "redis://x", "a:b:c"),
    *("journal.log", "file:x", "sqlite:///.", "sqlite:///x.db?mode=ro", "http://127.0.0.1:9"),
)
OF_A_SEARCH: dict[str, Sequence[str]] = {
    "hydra/sweeper/sampler": SAMPLERS,
    "hydra/sweeper/pruner": PRUNERS,
    "hydra/launcher": ("basic", "joblib", "submitit_local", "ray", "x"),
    "hydra.launcher.n_jobs": ("1", "2", "0"),
    "hydra.sweep.dir": ("multirun/d", ".", "/dev/null", "s/${hydra.job.num}", "''"),
    "hydra.sweep.subdir": ("x", "${hydra.job.num}", "${optimizer.lr}", "..", "''"),
    "hydra.sweeper.objective": OBJECTIVES,
    "hydra.sweeper.direction": (
        *("maximize", "minimize", "[maximize,minimize]", "[maximize]", "up", "[]"),
    ),
    "hydra.sweeper.n_trials": ("1", "2", "3"),
    "hydra.sweeper.n_jobs": ("1", "2", "auto", "0", "100000"),
    "hydra.sweeper.storage": STORAGES,
    "hydra.sweeper.storage_wait_s": ("0", "0.1", "inf", "nan"),
    "hydra.sweeper.rungs": ("[1,2]", "[1]", "[2,1]", "[1,1]", "[0,1]", "[1,1.5]", "[]", "[1,x]"),
    "hydra.sweeper.replicates": ("1", "2", "0"),
    "hydra.sweeper.budget": ("reject", "fit", "x"),
    "hydra.sweeper.fit": ("[model.*]", "[x]", "[optimizer.lr]", "model.c1"),
    "hydra.sweeper.fit_rest": ("[model.*]", "[x]"),
    "hydra.sweeper.conditions": ("{optimizer.lr:{x:[1]}}", "{x:{y:[1]}}", "{optimizer.lr:1}"),
    "hydra.sweeper.max_rejected": ("1", "2", "0"),
    "hydra.sweeper.skip_repeats": ("false", "x"),
    "hydra.sweeper.max_retries": ("0", "1"),
    "hydra.sweeper.max_failure_rate": ("0", "1", "1.5"),
    "hydra.sweeper.lease_s": ("1", "0", "1e9"),
    "hydra.sweeper.study_name": ("a", "a/b", "../up", ".", "a b", "n" * 300, "ä", "/tmp", "1"),
    "hydra.sweeper.custom_search_space": ("os.getcwd", "no.such.module", "math.pi", "x"),
    "hydra.sweeper.params": (
        *("{}", "{optimizer.lr: choice(0.01,0.02)}", "{optimizer.lr: [0.01,0.02]}", "{x: 1}"),
        *("{optimizer.lr: 'interval(0.001,0.1)'}", "{optimizer: 'choice(adam,sgd)'}", "x"),
        *("{optimizer.lr: 0.01}", "{optimizer: {lr: 1}}", "{optimizer.lr: null}"),
    ),
    "hydra.sweeper._target_": ("os.system", "x", "hydra_plugins.x.Sweeper"),
    "hydra.sweeper.sampler.seed": ("1", "-1", "x", "null"),
    "hydra.sweeper.sampler._target_": ("optuna.samplers.GridSampler", "os.system", "x"),
    "hydra.sweeper.sampler.n_startup_trials": ("0", "x"),
    "hydra.sweeper.pruner._target_": ("optuna.pruners.MedianPruner", "os.system", "x"),
    "hydra.sweeper.pruner.n_warmup_steps": ("0", "-1", "x"),
    "budget.max_params": ("1", "0", "100000"),
    "sweep": (*choices("sweep"), "x", "null"),
}
"""Key of a search -> values for it, beside `VALUES`."""

SPACES = (
    *("choice(0.01,0.1)", "choice(0.01)", "choice(a,b)", "choice()", "choice([1],[2])"),
    *("choice({a:1},{a:2})", "choice(null,1)", "choice(1,1.0,true)", "choice(0.01,0.01)"),
    *("interval(0.001,0.1)", "interval(0.1,0.001)", "interval(0.1,0.1)", "interval(a,b)"),
    *("interval(-1,1)", "tag(log,interval(0,1))", "tag(log,interval(-1,1))", "int(interval(1,8))"),
    *("tag(x,interval(0,1))", "tag(log,int(interval(1,8)))", "tag(int,interval(1,8))"),
    *("range(1,3)", "range(3)", "range(3,1)", "range(1,3,0)", "range(0.1,0.5,0.1)", "shuffle(1,2)"),
    *("glob(*)", "glob(a*)", "glob(x*)", "sort(2,1)", "shuffle(range(1,3))", "1,2", "0.01,0.02,a"),
    *(
        "interval(0,1e400)",
        "interval(1e-400,1)",
        "interval(nan,1)",
        "float(range(1,3))",
        "str(1,2)",
    ),
    *("range(1,100000000000000000000)", "interval(1,1e300)", "int(interval(1,1e30))"),
)
"""What a key may be searched over."""

SEARCHED = (
    *("optimizer.lr",) * 8,
    *("optimizer.lr", "optimizer", "model", "trainer.batch_size", "trainer.epochs", "seed", "data"),
    *(
        "scheduler",
        "augmentation",
        "model.c1",
        "trainer.limit_train",
        "trainer.device",
        "x",
        "sweep",
    ),
    *(
        "optimizer.betas",
        "budget.max_params",
        "experiment",
        "record.table",
        "hydra.sweeper.n_trials",
    ),
)


def random_search(draw: random.Random) -> list[str]:
    """One or two overrides of a search, often wrong, and `SEARCH` for the rest."""
    given = [_override(draw) for _ in range(draw.choice((1, 1, 1, 2)))]
    said = {key_of(override) for override in given}
    return [*(override for override in SEARCH if key_of(override) not in said), *given]


def _override(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.1:
        return random_override(draw)
    if kind < 0.35:
        prefix = draw.choice(
            ("", "", "", "hydra.sweeper.params.", "+", "++", "+hydra.sweeper.params.")
        )
        return f"{prefix}{draw.choice(SEARCHED)}={draw.choice(SPACES)}"
    key = draw.choice(tuple(OF_A_SEARCH))
    value = draw.choice(OF_A_SEARCH[key] if draw.random() < 0.9 else VALUES)
    return f"{draw.choice(('', '', '', '', '++'))}{key}={value}"
