"""`hil reproduce mod-dnn`: a model-driven network that finds directions through phase errors of the angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hil.reproduce.experiment import Case, Plan, Report
from hil.reproduce.mod_dnn_checks import checks
from hil.reproduce.mod_dnn_notes import notes
from hil.reproduce.mod_dnn_pictures import pictures
from hil.reproduce.mod_dnn_rows import gather
from hil.reproduce.mod_dnn_tables import tables
from hil.reproduce.mod_dnn_variants import VARIANTS

_MODULE = "hil.reproduce.mod_dnn_case"
#: expected seconds of a training step, and of everything else in a case
_STEP_S = {"mod-dnn": 0.031, "cnn": 0.008, "deep-music": 0.03}
_VARIANT_STEP_S = {"iterations-3": 0.1, "paper": 0.2}
_TESTS_S = {"simulated": 12.0, "few": 4.0, "chamber": 10.0, "held-out": 8.0, "parking": 6.0, "rho": 4.0}
_RHOS = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class _Size:
    """Training steps of each method by purpose. count : test samples at an SNR. paper : steps of the paper's mode.
    seeds : of MoD-DNN and the plain CNN. rhos : strengths below 1."""

    count: int
    mod: int
    cnn: int
    deep: int
    few: int
    paper: int
    rho: int
    parking: int
    gate: int
    seeds: int
    rhos: tuple[float, ...]


_FULL = _Size(3000, 6500, 4000, 1000, 1000, 300, 1200, 2500, 1500, 3, _RHOS)
_QUICK = _Size(1000, 900, 1500, 200, 150, 40, 300, 500, 300, 1, (0.5,))

INTRO = """
A gNodeB with four antennas half a wavelength apart at 4.85 GHz hears one phone: 16 tones of 100 MHz make one sample. Its phase
errors depend on the angle: small inside +-30 degrees, up to 43 degrees beyond. MUSIC, which believes in the ideal array, errs by
degrees at any SNR. MoD-DNN sorts a sample into one of four subregions (autoencoder), takes the coarray spectrum and mends it with a
small convolutional network between reconstruction steps.

The paper's phase errors and recordings are not public: the array here is a stand-in with the same traits. One path, SNR per antenna
and tone, angles of the test between those of any grid. "Bound" is the Cramer-Rao bound of an array known perfectly: no method
can do much better. The network is the fast form of MoD-DNN (one outer iteration, exact reconstruction, Gaussian labels that narrow,
the angle read counts as well towards the end of the training, sharpened input channels); the form as printed is among the ablations.

Beside every figure stand two response tables, which the paper does not consider: MUSIC whose readings are turned round with a table of
its own bias, and maximum likelihood with the measured response of every tone. Both need a turntable, and neither needs training.
"""


class ModDnn:
    """Figures 1c, 4 and 5 and tables 3 and 4 of the paper, response tables beside them, angles never recorded."""

    name = "mod-dnn"
    title = "MoD-DNN: directions through phase errors that depend on the angle"
    source = (
        "Liu et al., Model-Driven Deep Neural Network for Enhancing Direction Finding with Commodity 5G gNodeB, "
        "ACM Trans. Sensor Networks 2025, arXiv 2412.10644"
    )
    intro = INTRO

    def cases(self, plan: Plan) -> list[Case]:
        """One per training, with every test of what it trained; methods without training in one case a protocol."""
        size = _QUICK if plan.quick else _FULL
        seeds = range(1, (plan.seeds or size.seeds) + 1)
        out = [_models(protocol, size) for protocol in ("simulated", "chamber", "held-out", "parking")]
        for seed in seeds:
            out += [
                _trained(protocol, "mod-dnn", size.mod, size, seed)
                for protocol in ("simulated", "chamber", "held-out")
            ]
            out.append(_trained("simulated", "cnn", size.cnn, size, seed))
        out.append(_trained("simulated", "deep-music", size.deep, size))
        for protocol in ("chamber", "held-out"):
            out.append(_trained(protocol, "cnn", size.cnn, size))
        out.append(_trained("chamber", "deep-music", size.deep, size))
        for method, steps in (("mod-dnn", size.parking), ("cnn", size.parking), ("deep-music", size.deep)):
            out.append(_trained("parking", method, steps, size))
        for rho in size.rhos:
            out.append(_models("rho", size, rho))
            out += [_trained("rho", method, size.rho, size, rho=rho) for method in ("mod-dnn", "cnn")]
        for variant in VARIANTS:
            steps = size.paper if variant == "paper" else size.few
            out.append(_trained("few", "mod-dnn", steps, size, variant=variant))
        weight = 5.0 + 0.01 * size.gate
        out.append(
            Case("shared-autoencoder", f"{_MODULE}:run_shared_autoencoder", {"steps": size.gate}, weight)
        )
        return out

    def report(self, plan: Plan, results: dict[str, dict[str, Any]]) -> Report:
        """Tables, figures and checks."""
        del plan
        found = gather(results)
        return Report(
            tables(found, results), pictures(found, results), checks(found, results), notes(found, results)
        )


def _models(protocol: str, size: _Size, rho: float = 1.0) -> Case:
    key = f"{protocol}-models" if rho == 1.0 else f"{protocol}-{rho:g}-models"
    arguments = {"protocol": protocol, "count": size.count, "rho": rho}
    return Case(key, f"{_MODULE}:run_models", arguments, _TESTS_S[protocol])


def _trained(
    protocol: str,
    method: str,
    steps: int,
    size: _Size,
    seed: int = 1,
    *,
    rho: float = 1.0,
    variant: str = "fast",
) -> Case:
    name = variant if protocol == "few" else method
    key = f"{protocol}-{name}-{seed}" if rho == 1.0 else f"{protocol}-{rho:g}-{name}-{seed}"
    step_s = _VARIANT_STEP_S.get(variant, _STEP_S[method])
    arguments = {
        "protocol": protocol, "methods": [method], "count": size.count, "seed": seed, "steps": steps, "rho": rho,
        "variant": variant,
    }  # fmt: skip
    weight = round(steps * step_s + _TESTS_S[protocol] * size.count / _FULL.count, 1)
    return Case(key, f"{_MODULE}:run_protocol", arguments, weight)


EXPERIMENT = ModDnn()
