"""Positions moved by the published gradient (Mateos-Ramos et al.): Adam on the map's maximum, over blocks that are there.

On a recording the transmit beam is what it was, so the gradient ends at the receiver.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.isac.grid import SearchGrid

_LR = 1e-3
_BATCH = 128


def polish(
    data: Reduced,
    sector_u: NDArray[np.float64],
    x: NDArray[np.float64],
    *,
    steps: int,
    seed: int,
    on_step: Callable[[int, float], bool],
) -> NDArray[np.float64]:
    """Positions (K,) in wavelengths from x (K,), its mean kept.

    data : N0 = 1. sector_u : (B, 2). seed : of the batches. on_step(step, loss) : True ends it.
    """
    import torch
    from torch import Tensor

    from calib.isac.learned_array import LearnedSpacings
    from calib.isac.source import Batch
    from calib.isac.train import TrainSettings, train

    rng = np.random.default_rng(seed)

    class Recorded:
        """Random blocks of the data, whatever beam is asked for."""

        basis, spacing_hz, window_s = data.basis, data.spacing_hz, data.window_s

        def __call__(self, beam_of: Callable[[Tensor], Tensor], count: int) -> Batch:
            del beam_of
            index = rng.choice(data.n_blocks, min(count, data.n_blocks), replace=False)
            return Batch(torch.from_numpy(data.taps[index]), torch.from_numpy(sector_u[index]))

    array = LearnedSpacings(x, SearchGrid(data.window_s), "positions")
    train(array, Recorded(), TrainSettings("max-map", n_steps=steps, batch=_BATCH, lr=_LR), on_step=on_step)
    moved = array.x().detach().numpy()
    return np.asarray(moved - moved.mean() + x.mean(), np.float64)
