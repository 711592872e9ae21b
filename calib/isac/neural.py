"""The neural baseline: beam, detection, angle and range by networks that know nothing of the array.

Mateos-Ramos et al. 2025, appendix A, Fig. 10, tables I and II. A multilayer perceptron turns a sector into a
transmit vector; three separate convolutional networks read the angle-delay map of the nominal array.

The printed counts are met exactly: 10 555 real parameters (limited), 7 780 409 = 7.78 million (full). What the
text leaves open and only this reading of ours meets at both sizes:
- a bottleneck is 1x1 to a quarter of the channels, 3x3, 1x1 back, as in He et al. 2016;
- it has two batch normalisations, after each 1x1; a convolution in front of one has no bias, all others do;
- the strided convolution of a block has no normalisation; "a factor of 4" and "4 neurons" apply everywhere.
Assumed without evidence: ReLU after the first normalisation and after the 3x3; the map over +-90 degrees and the
delay window, as log(1 + P/(K S N0)); angles in quarter turns and delays in units of the longest one, at the
inputs and at the output (the printed tanh times 90 degrees is the same); the bias of the last neuron of the range
starts in mid window, where its ReLU passes gradients.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calib.gpi.delay import delay_vectors

Size = Literal["full", "limited"]

MAP_SHAPE = (320, 128)
_QUARTER_TURN = np.pi / 2


class BeamNetwork(nn.Module):
    """f_epsilon: sector_u (B, 2) -> transmit vectors (B, K) complex64 of unit norm; 3 hidden layers."""

    def __init__(self, n_elements: int, hidden: int) -> None:
        super().__init__()
        self.layers = _perceptron(2, (hidden,) * 3, 2 * n_elements)

    def forward(self, sector_u: Tensor) -> Tensor:
        out = self.layers(torch.asin(sector_u.float()) / _QUARTER_TURN)
        real, imag = nn.functional.normalize(out, dim=1).chunk(2, dim=1)
        return torch.complex(real, imag)


class Bottleneck(nn.Module):
    """One skipped connection of Fig. 10: x + 1x1(3x3(1x1(x))), a quarter of the channels inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.path = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x)


class ResidualBlock(nn.Module):
    """Fig. 10: a strided 3x3 convolution, then two bottlenecks with a connection around both."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
        self.bottlenecks = nn.Sequential(Bottleneck(channels_out), Bottleneck(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        return x + self.bottlenecks(x)


class MapNetwork(nn.Module):
    """One of the three receivers: map (B, 320, 128) and what is known beforehand (B, 2 or 4) -> (B,).

    widths : channels after the first convolution and after every block; pool : of the first maximum; hidden :
    neurons of the two layers at the end. The output is raw: tanh, ReLU or sigmoid follow in `NeuralIsac`.
    """

    def __init__(self, n_known: int, widths: tuple[int, ...], pool: int, hidden: int) -> None:
        super().__init__()
        first, last = widths[0], widths[-1]
        blocks = [ResidualBlock(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairwise(widths))]
        self.features = nn.Sequential(
            nn.Conv2d(1, first, 5, padding=2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d(pool),
            *blocks,
            nn.Conv2d(last, 1, 3, padding=1, bias=False),
            nn.BatchNorm2d(1),
            nn.ReLU(),
            nn.Flatten(),
        )
        pixels = MAP_SHAPE[0] * MAP_SHAPE[1] // (pool * 2 ** (len(blocks) - 1)) ** 2
        self.head = _perceptron(pixels + n_known, (hidden, hidden), 1)
        with torch.no_grad():
            # features of one sign: with few neurons, all of a layer may else be off for every map, and stay so
            for layer in (self.head[0], self.head[2]):
                layer.bias.fill_(1.0)  # pyright: ignore

    def forward(self, angle_delay: Tensor, known: Tensor) -> Tensor:
        return self.head(torch.cat((self.features(angle_delay[:, None]), known), dim=1))[:, 0]


class NeuralIsac(nn.Module):
    """The whole baseline for one target.

    Parameters
    ----------
    x_wavelengths : (K,) float64, the nominal positions, of the map alone.
    basis, spacing_hz, window_s : the delay subspace, as in `calib.gpi.delay.Reduced`.
    size : "full" or "limited". seed : of the first weights.
    """

    map_angles: Tensor
    map_delays: Tensor

    def __init__(
        self,
        x_wavelengths: NDArray[np.float64],
        basis: NDArray[np.complex128],
        spacing_hz: float,
        window_s: tuple[float, float],
        size: Size = "limited",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.window_s = window_s
        k, s = len(x_wavelengths), len(basis)
        theta = np.linspace(-_QUARTER_TURN, _QUARTER_TURN, MAP_SHAPE[0])
        conj_a = np.exp(-2j * np.pi * np.outer(np.sin(theta), x_wavelengths)) / np.sqrt(k * s)
        b = delay_vectors(s, spacing_hz, np.linspace(*window_s, MAP_SHAPE[1]))
        self.register_buffer("map_angles", torch.from_numpy(conj_a.astype(np.complex64)))
        filters = np.conj(basis.conj().T @ b).astype(np.complex64)
        self.register_buffer("map_delays", torch.from_numpy(filters))
        full = size == "full"
        widths = (8, 16, 32, 64, 128, 256, 512) if full else (2, 4, 8, 16)
        pool, hidden = (2, 4 * k) if full else (4, 4)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.beam = BeamNetwork(k, 8 * k if full else 4)
            self.angle = MapNetwork(2, widths, pool, hidden)
            self.range = MapNetwork(2, widths, pool, hidden)
            self.detection = MapNetwork(4, widths, pool, hidden)
        with torch.no_grad():
            self.range.head[-1].bias.fill_(0.5 * (1 + window_s[0] / window_s[1]))  # pyright: ignore
        # three times faster on a CPU: convolutions of few channels over many pixels
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def n_parameters(self) -> int:
        """Real numbers that are learned."""
        return sum(p.numel() for p in self.parameters())

    def angle_delay_map(self, taps: Tensor) -> Tensor:
        """log(1 + P/(K S N0)), (B, 320, 128) float32, of taps (B, K, r) in units of N0 = 1."""
        h = self.map_angles @ (taps @ self.map_delays)
        return torch.log1p(h.real**2 + h.imag**2)

    def position(self, angle_delay: Tensor, sector_u: Tensor) -> tuple[Tensor, Tensor]:
        """theta_rad (B,) and delay_s (B,) float32 from maps of `angle_delay_map` (f_xi)."""
        turn = torch.tanh(self.angle(angle_delay, self._angles(sector_u)))
        share = torch.relu(self.range(angle_delay, self._delays(sector_u)))
        return turn * _QUARTER_TURN, share * self.window_s[1]

    def presence(self, angle_delay: Tensor, sector_u: Tensor) -> Tensor:
        """Logit (B,) of the probability that the target is there (f_zeta, before its sigmoid)."""
        known = torch.cat((self._angles(sector_u), self._delays(sector_u)), dim=1)
        return self.detection(angle_delay, known)

    def _angles(self, sector_u: Tensor) -> Tensor:
        return torch.asin(sector_u.float()) / _QUARTER_TURN

    def _delays(self, sector_u: Tensor) -> Tensor:
        share = torch.tensor([self.window_s[0] / self.window_s[1], 1.0])
        return share.expand(len(sector_u), 2)


def _perceptron(n_in: int, hidden: tuple[int, ...], n_out: int) -> nn.Sequential:
    """Fully connected layers with ReLU between them."""
    sizes = (n_in, *hidden)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_out))
