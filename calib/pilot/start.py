"""Where a pilot fit begins: closed forms, no iteration over all unknowns at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.model import TWO_PI
from calib.pilot.fit import Labelled, Unknowns, nulls
from calib.pilot.model import CoupledModel


def start(lab: Labelled, unknowns: Unknowns) -> CoupledModel:
    """Gains from the principal eigenvector, positions element by element (supervised eigen-scan)."""
    model = CoupledModel(
        np.ones(len(unknowns.nominal), complex), unknowns.nominal - unknowns.nominal.mean(axis=0),
        np.zeros(unknowns.n_coupling, complex), unknowns.patterns,
    )  # fmt: skip
    if lab.epoch is not None and lab.parts is not None and len(lab.parts):
        largest = int(np.argmax(np.bincount(lab.epoch)))
        alone = replace(lab.only(np.flatnonzero(lab.epoch == largest)), epoch=None, parts=None)
        return first_turns(start(alone, unknowns), lab)
    inside = inside_of(lab)
    model = _with_gains(model, lab, inside)
    if unknowns.position_std == 0:
        return model
    reach = max(3 * unknowns.position_std, 0.05)
    for round_ in range(3):
        width = reach if round_ < 2 else reach / 5
        for axis in range(model.r.shape[1]):
            model = _with_gains(_scanned(model, lab, inside, unknowns, axis, width), lab, inside)
    return model


def first_turns(model: CoupledModel, lab: Labelled) -> CoupledModel:
    """A model of any epoch moved to epoch 0, with the turns of all: phases of the principal eigenvector over groups."""
    assert lab.epoch is not None
    assert lab.parts is not None
    everyone = np.vstack((1 - lab.parts.sum(axis=0), lab.parts))
    inside, a = inside_of(lab), model.steering(lab.d)
    turn = np.zeros((lab.n_epochs, len(lab.parts)))
    for e in np.unique(lab.epoch).tolist():
        mine = lab.epoch == e
        split = everyone[None] * a[mine][:, None, :]  # (G, 1 + L, N)
        total = np.einsum("gkm,gmn,gln->kl", split.conj(), inside[mine], split)
        z = np.linalg.eigh((total + total.conj().T) / 2)[1][:, -1]
        turn[e] = np.angle(z[1:] * np.conj(z[0]))
    g = model.g * np.exp(1j * (turn[0] @ lab.parts))
    return replace(model, g=g, turn=turn - turn[0])


def inside_of(lab: Labelled) -> NDArray[np.complex128]:
    """(G, N, N): sum of the projectors on the signals of each statement."""
    starts = np.searchsorted(lab.group, np.arange(len(lab)))
    return np.add.reduceat(lab.signal @ lab.signal.conj().transpose(0, 2, 1), starts, axis=0)


def _with_gains(model: CoupledModel, lab: Labelled, inside: NDArray[np.complex128]) -> CoupledModel:
    wave = np.exp(1j * TWO_PI * (lab.d @ model.r.T))
    total = np.einsum("gm,gmn,gn->mn", wave.conj(), inside, wave)
    g = np.linalg.eigh((total + total.conj().T) / 2)[1][:, -1]
    return replace(model, g=g / np.linalg.norm(g))


def _scanned(
    model: CoupledModel,
    lab: Labelled,
    inside: NDArray[np.complex128],
    unknowns: Unknowns,
    axis: int,
    width: float,
) -> CoupledModel:
    """Every element to where its phases agree best with the others', the prior included."""
    r = model.r.copy()
    depth = nulls(replace(model, c=model.c * 0), lab)
    sharp = 1 / (float(np.median(depth.depth)) + float(np.median(depth.variance)))
    for n in range(model.n_elements):
        a = model.g * np.exp(1j * TWO_PI * (lab.d @ r.T))
        others = np.einsum("gm,gm->g", inside[:, n], a) - inside[:, n, n] * a[:, n]
        trial = r[n, axis] + np.linspace(-width, width, 81)
        rest = np.delete(np.arange(r.shape[1]), axis)
        base = np.exp(-1j * TWO_PI * (lab.d[:, rest] @ r[n, rest])) * others
        match = np.abs(np.exp(-1j * TWO_PI * np.outer(trial, lab.d[:, axis])) @ base)
        away = ((trial - unknowns.nominal[n, axis]) / unknowns.position_std) ** 2
        r[n, axis] = trial[int(np.argmax(np.abs(model.g[n]) * match * sharp - away / 2))]
    return replace(model, r=r - r.mean(axis=0))
