"""QPSK symbols through a known channel: decision and error rate.

Mateos-Ramos et al. 2025, eq. 4, 15, 22: y_s = kappa_s x(m_s) + n_s with kappa = beta (a^T f) known to the receiver.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_QPSK = np.exp(1j * np.pi / 4 * np.array([1, 3, 7, 5]))


def qpsk(messages: NDArray[np.integer]) -> NDArray[np.complex128]:
    """Symbols of unit power for messages 0 to 3 (any shape), neighbours differ in one bit."""
    return _QPSK[messages]


def decide(y: NDArray[np.complex128], kappa: NDArray[np.complex128]) -> NDArray[np.intp]:
    """argmin_m |y - kappa x(m)|^2 (eq. 15), the shape of y; kappa broadcasts."""
    # |y - kappa x|^2 differs between the messages by Re(y conj(kappa x)) alone
    turned = y * np.conj(kappa)
    return (turned.real < 0) + 2 * (turned.imag < 0)


def symbol_error_rate(messages: NDArray[np.integer], decided: NDArray[np.integer]) -> float:
    """Share of wrong decisions over all blocks and subcarriers (eq. 22)."""
    return float(np.mean(messages != decided))
