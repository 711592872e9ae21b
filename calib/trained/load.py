"""Any file of `hil train`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from calib.checkpoint import read_checkpoint
from calib.trained.belongs import problem
from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from calib.trained.dual_path_vae import TrainedVae
    from calib.trained.mod_dnn import TrainedModDnn


def load_network(path: str | os.PathLike[str]) -> TrainedModDnn | TrainedVae:
    """The network of a file. Raises ConfigError in one line for anything else."""
    from calib.trained.dual_path_vae import TrainedVae
    from calib.trained.mod_dnn import TrainedModDnn

    tensors, card = read_checkpoint(path)
    kinds = {"mod-dnn": TrainedModDnn, "dual-path-vae": TrainedVae}
    method = card.get("method")
    if not isinstance(method, str) or method not in kinds:
        where = str(path)
        if isinstance(method, str) and method.endswith("-training"):
            raise ConfigError(
                "a training that is not finished", where=where, hint="hil train --resume ends it"
            )
        raise ConfigError("a network of no method known here", where=where, hint="update the program")
    with problem(path):
        return kinds[method].of(tensors, card)
