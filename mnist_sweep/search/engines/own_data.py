"""Whether a worker's machine has the data of the search, and where."""

import os
from dataclasses import replace

from mnist_sweep.config import DataConfig
from mnist_sweep.data import VARIABLE, find, is_present
from mnist_sweep.errors import UserError
from mnist_sweep.search.engines.job import SweepContext
from mnist_sweep.search.points.composer import Composer


def with_own_data(context: SweepContext, composer: Composer) -> SweepContext:
    """Where the set is not below data.root, it may be where this machine's environment says.

    Raises:
        UserError: this machine does not have it, or would take another one.
    """
    name = context.data
    if name is None:
        return context
    data = DataConfig.model_validate(composer.task(context.fixed)[0]["data"])
    if data.is_measured:
        if (found := find(data)) != name:
            raise UserError(
                f"data={data.name}: the search trains on {name}, and here are other images "
                f"({found}): put the same file there, or into a folder that all workers see"
            )
        return context
    if name == "digits":
        if find(data) != name:
            raise UserError(
                f"data={data.name}: the search trains on digits, since it has found no MNIST where "
                "it was started, and here MNIST is: start it with data=digits or data=mnist"
            )
        return context
    own_root = os.environ.get(VARIABLE, data.root)
    if not is_present(data.root, name) and is_present(own_root, name):
        return replace(context, data_root=own_root)
    find(data.model_copy(update={"name": name}))
    return context
