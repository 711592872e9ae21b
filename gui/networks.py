"""Trained networks that are loaded, one for each method that can use one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calib.trained.dual_path_vae import TrainedVae
    from calib.trained.mod_dnn import TrainedModDnn


class Networks:
    """Files of `hil train`. `load` may take seconds; `get` belongs to any thread."""

    def __init__(self) -> None:
        self.mod_dnn: TrainedModDnn | None = None
        self.vae: TrainedVae | None = None
        self._paths: dict[str, Path] = {}

    def load(self, path: Path) -> str:
        """Use the network of a file; what it is, in one line. Raises ConfigError for anything else."""
        from calib.trained.load import load_network
        from calib.trained.mod_dnn import TrainedModDnn

        network = load_network(path)
        if isinstance(network, TrainedModDnn):
            self.mod_dnn = network
        else:
            self.vae = network
        self._paths[network.method] = path.resolve()
        belongs = network.belongs
        how = "with a calibration" if belongs.calibrated else "without a calibration"
        return (
            f"{path.name} for the method {network.method}: {belongs.n_elements} elements at {belongs.fc_hz / 1e6:g} MHz, "
            f"{belongs.sector_deg[0]:g} to {belongs.sector_deg[1]:g} degrees, trained {how}"
        )

    def get(self, method: str) -> TrainedModDnn | TrainedVae | None:
        """Of a method, as `--method` has it; None if none is loaded, or the method knows of none."""
        known = {"mod-dnn": self.mod_dnn, "dual-path-vae": self.vae}
        return known.get(method)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files of those that are loaded."""
        return tuple(self._paths.values())
