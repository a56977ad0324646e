"""Random command lines, of this project's and Hydra's own keys and of values that may be wrong."""

import random
from functools import cache

from omegaconf import OmegaConf

from mnist_sweep.blame import key_of
from mnist_sweep.identity import flat_config
from mnist_sweep.paths import CONF
from tests.conftest import choices, make_whole_config

BASE = (
    *("data=digits", "debug=fast", "model=ds_cnn_v3_code", "trainer.epochs=1"),
    *("trainer.limit_train=32", "trainer.limit_val=32"),
)
"""A run of a moment, where the line says nothing else."""

HUGE = ("1" + "0" * 17, "1" + "0" * 30, "-1" + "0" * 30, "1" + "0" * 400, "1" + "0" * 5000)
VALUES = (
    *("0", "1", "-1", "2", "1.5", "-0.5", "1e-3", "1e400", "inf", "-inf", "nan", "0x10", "1_000"),
    *HUGE,
    *("null", "true", "false", "off", "''", '""', "auto", "cpu", "cuda", "cuda:0", "mps", "tpu"),
    *("cuda:128", "cuda:99999999999999999999", "cuda:-1", "cuda:²"),
    *("[]", "[[]]", "[[[]]]", "[1]", "[[1],[2]]", "[null]", "{}", "{a:1}", "{a:{b:[]}}", "[{}]"),
    *("???", "${seed}", "${nothing}", "${oc.env:NOTHING}", "${now:}", "${", "$", "${a:b:c}"),
    *("x", "a b", "ä", "数", "'it''s'", "\\,", "a=b", "=", "a:b", "@", "~", "-", "--", ".", ".."),
    *("a/b", "/dev/null", "/dev/null/x", "/proc/nowhere", "../up", "n" * 300, "a\nb", "\t"),
    *("1,2", "choice(1,2)", "range(1,3)", "interval(0,1)", "glob(*)", "tag(a,1)", "sort(2,1)"),
    *("choice()", "range()", "interval(1)", "[", "]", "{", "(", "'", '"', "1,", ",1", "[1,"),
)
OF_KEYS = {"trainer.threads": ("100000", "1025"), "hydra.verbose": ("1", "true", "[a]", "x")}
"""Values for a key beside those."""

FLAGS = (
    *("-m", "-m", "-m", "--cfg", "--cfg=job", "--cfg=x", "--resolve", "--info", "--info=x", "-p"),
    *("--package=nothing", "--config-name=x", "--config-dir=x", "--run", "--nothing", "-x", "-1"),
    *("--version", "--help", "--hydra-help", "-sc", "--experimental-rerun=x", "--", "report"),
)


@cache
def keys() -> tuple[list[str], list[str]]:
    """This project's keys and groups, and Hydra's that a user may set."""
    config = OmegaConf.to_container(make_whole_config(), resolve=False)
    assert isinstance(config, dict)
    dotted = flat_config({str(name): value for name, value in config.items()})
    known = {*dotted, *(key.rpartition(".")[0] for key in dotted)} - {""}
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    of_hydra = {key for key in known if key.startswith("hydra")}
    ours = (known - of_hydra) | groups
    of_hydra |= {"hydra/launcher", "hydra/sweeper", "hydra/job_logging", "hydra/output", "hydra"}
    told = ("hydra.runtime", "hydra.overrides", "hydra.job_logging.", "hydra.hydra_logging.")
    return sorted(ours), [key for key in sorted(of_hydra) if not key.startswith(told)]


def random_run(draw: random.Random) -> list[str]:
    """One to three overrides, often wrong, and `BASE` for the rest."""
    given = [random_override(draw) for _ in range(draw.choice((1, 1, 2, 3)))]
    said = {key_of(override) for override in given}
    line = [*(override for override in BASE if key_of(override) not in said), *given]
    if draw.random() < 0.2:
        line.insert(draw.randrange(len(line) + 1), draw.choice(FLAGS))
    return line


def random_override(draw: random.Random) -> str:
    ours, of_hydra = keys()
    key = draw.choice(ours if draw.random() < 0.7 else of_hydra)
    if draw.random() < 0.1:
        key = draw.choice((key[:-1], key + ".x", key.rpartition(".")[2], "x", "", "1", "a b", "é"))
    sign = draw.choice(("", "", "", "", "+", "++", "~"))
    if sign == "~" and draw.random() < 0.5:
        return sign + key
    of_group = tuple(choices(key)) if (CONF / key).is_dir() else ()
    values = (*VALUES, *OF_KEYS.get(key, ()) * 10, *of_group * 5)
    return f"{sign}{key}={draw.choice(values)}"
