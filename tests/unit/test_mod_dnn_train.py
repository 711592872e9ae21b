"""Training of MoD-DNN: goes on exactly where it stopped, stops early, keeps the best weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.methods.mod_dnn.network import MoDDNN, Shape, shape_of
from calib.methods.mod_dnn.regions import Regions
from calib.methods.mod_dnn.tones import normalised
from calib.methods.mod_dnn.train import TrainPlan, TrainState, learning_rate, train
from hil.core.errors import ConfigError

SHAPE = Shape(n_tones=4, regions=Regions(n=2, field_deg=(-30.0, 30.0), step_deg=1.0))
PLAN = TrainPlan(
    gate_steps=12, gate_batch=16, steps=16, batch=4, checkpoint_every=5, validate_every=4, seed=2
)


def source(angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
    wave = np.exp(
        1j * np.pi * np.arange(4) * np.sin(np.deg2rad(angle_deg))[:, None, None] + np.zeros((1, 4, 1))
    )
    return normalised(wave + 0.05 * (rng.standard_normal(wave.shape) + 1j * rng.standard_normal(wave.shape)))


def network(shape: Shape = SHAPE) -> MoDDNN:
    torch.manual_seed(1)
    waves = np.exp(
        1j * np.pi * np.arange(4)[:, None] * np.sin(np.deg2rad(shape.regions.grid_deg))[:, None, :]
    )
    return MoDDNN(shape, waves)


def validation(net: MoDDNN) -> float:
    angle = np.linspace(-28, 28, 20)
    tones = torch.as_tensor(source(angle, np.random.default_rng(9)))
    return float(np.sqrt(np.mean((net.angles_deg(tones).numpy() - angle) ** 2)))


def weights(net: MoDDNN) -> dict[str, torch.Tensor]:
    return net.state_dict()


@pytest.mark.parametrize("stops_at", [3, 12, 17, 25])
@pytest.mark.parametrize("validate", [None, validation])
def test_a_resumed_run_ends_with_the_same_weights(stops_at: int, validate) -> None:
    whole = network()
    once = train(whole, source, PLAN, validate=validate)
    states: list[TrainState] = []
    count = 0

    def ends(angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
        nonlocal count
        count += 1
        if count > stops_at:
            raise KeyboardInterrupt
        return source(angle_deg, rng)

    with pytest.raises(KeyboardInterrupt):
        train(network(), ends, PLAN, on_checkpoint=states.append, validate=validate)
    state = states[-1] if states else None
    if state is not None:
        state = TrainState(state.tensors, json.loads(json.dumps(state.card)))
    rest = network()
    again = train(rest, source, PLAN, state=state, validate=validate)
    assert {(s, n) for s, n, _ in again.history} <= {(s, n) for s, n, _ in once.history}
    assert again.validation == once.validation
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(rest)[name]), name


def test_a_state_of_other_settings_is_refused() -> None:
    states: list[TrainState] = []
    train(network(), source, PLAN, on_checkpoint=states.append)
    with pytest.raises(ConfigError, match="other settings"):
        train(network(), source, replace(PLAN, steps=17), state=states[0])
    with pytest.raises(ConfigError, match="another size"):
        train(
            network(replace(SHAPE, regions=Regions(n=3, field_deg=(-30.0, 30.0)))),
            source,
            PLAN,
            state=states[0],
        )


def test_weights_of_the_best_validation_are_kept_and_patience_ends_it() -> None:
    errors = iter([5.0, 4.0, 1.0, *np.arange(2.0, 40.0)])
    plan = replace(PLAN, steps=200, patience=3)
    seen: list[dict[str, torch.Tensor]] = []

    def worse(net: MoDDNN) -> float:
        seen.append({name: value.clone() for name, value in weights(net).items()})
        return float(next(errors))

    net = network()
    done = train(net, source, plan, validate=worse)
    assert done.early
    assert done.finished
    assert done.best_step == 12
    assert done.validation[-1][0] < 150
    assert all(torch.equal(value, weights(net)[name]) for name, value in seen[2].items())


def test_a_trained_network_can_be_trained_again_and_a_time_limit_ends_it() -> None:
    net = network()
    train(net, source, PLAN)
    done = train(net, source, PLAN, time_limit_s=0.0)
    assert not done.finished
    assert not net.training
    assert all(p.requires_grad for p in net.parameters())


def test_lambda_can_be_trained() -> None:
    net = network(replace(SHAPE, learn_lam=True))
    train(net, source, PLAN)
    assert float(net.log_lam.exp().detach()) != pytest.approx(SHAPE.lam, rel=1e-4)
    assert shape_of(json.loads(json.dumps(net.shape.as_dict()))) == net.shape


def test_the_schedule_is_one_cycle_of_torch() -> None:
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, 0.01, total_steps=50, pct_start=0.1)
    for step in range(50):
        rate, momentum = learning_rate(step, 50, 0.01)
        assert rate == pytest.approx(adam.param_groups[0]["lr"], rel=1e-6)
        assert momentum == pytest.approx(adam.param_groups[0]["betas"][0], rel=1e-6)
        adam.step()
        cycle.step()


@pytest.mark.parametrize("mode", ["fast", "paper"])
def test_the_chosen_head_alone_gives_what_all_heads_give(mode) -> None:
    net = network(replace(SHAPE, mode=mode, iterations=2, solver="exact"))
    train(net, source, PLAN)
    net.double()
    net.lags = net.lags.to(torch.complex128)
    tones = torch.as_tensor(source(np.linspace(-29, 29, 12), np.random.default_rng(3))).to(torch.complex128)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            spectrum, head = net(tones)
            every = net.reconstruct(net.measured(net.heard(tones)))[-1][torch.arange(len(head)), head]
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(head.unique()) == 2
    assert torch.allclose(spectrum, every, rtol=0, atol=1e-9 * float(every.abs().max()))
