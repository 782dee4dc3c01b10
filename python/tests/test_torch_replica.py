"""A replica takes what the run has, whatever is frozen or chosen where it evaluates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from torch import nn  # noqa: E402

from shadowkeep import Client, FailedPreconditionError, averages  # noqa: E402
from shadowkeep.torch import EMA  # noqa: E402


def make_model(seed: int) -> Any:
    """Random weights; buffers of batch norm in the middle."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    norm: Any = model[1]
    norm.running_mean.fill_(seed)
    return model


def state(model: nn.Module) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, Any], b: dict[str, Any], names: Any) -> bool:
    return all(torch.equal(a[name], b[name]) for name in names)


@pytest.fixture(params=[False, True], ids=["unregistered", "registered"])
def registers(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def backbone_frozen(client: Client, run_name: str) -> Iterator[tuple[EMA, dict[str, Any]]]:
    """A trainer whose first layer is frozen, and what its run has."""
    model = make_model(1)
    model[0].requires_grad_(False)
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
        with torch.no_grad():
            model[2].weight.add_(1)
        ema.update()
        with ema.average_parameters():
            held = state(model)
        yield ema, held


@pytest.mark.parametrize("frozen", [(), (0,), (2,), (0, 1, 2)])
def test_a_replica_takes_what_is_frozen_there_or_here(
    client: Client, backbone_frozen: tuple[EMA, dict[str, Any]], registers: bool, frozen: tuple[int, ...]
) -> None:
    ema, held = backbone_frozen
    model = make_model(2)
    for layer in frozen:
        model[layer].requires_grad_(False)
    raw = state(model)
    replica = EMA(model, client, run=ema.run, replica=True)
    if registers:
        replica.register()
    with replica.average_parameters():
        assert same(state(model), held, held)
    assert same(state(model), raw, raw)


def test_a_replica_leaves_what_it_ignores(
    client: Client, backbone_frozen: tuple[EMA, dict[str, Any]], registers: bool
) -> None:
    ema, held = backbone_frozen
    model = make_model(2)
    raw = state(model)
    replica = EMA(model, client, run=ema.run, replica=True, policies={"0.*": "IGNORE"}, buffers="ignore")
    if registers:
        replica.register()
    with replica.average_parameters():
        assert same(state(model), held, ["1.weight", "2.weight", "2.bias"])
        assert same(state(model), raw, ["0.weight", "0.bias", "1.running_mean"])


def test_a_replica_takes_an_average_of_a_part(client: Client, run_name: str, registers: bool) -> None:
    rules = [averages.textbook(decay=0.5, include=["2.*"], name="head"), averages.textbook(decay=0.5, name="all")]
    model = make_model(1)
    with EMA(model, client, run=run_name, averages=rules) as ema:
        ema.register()
        evaluated = make_model(2)
        raw = state(evaluated)
        replica = EMA(evaluated, client, run=run_name, replica=True)
        if registers:
            replica.register()
        with replica.average_parameters("head"):
            assert same(state(evaluated), state(model), ["2.weight", "2.bias"])
            assert same(state(evaluated), raw, ["0.weight"])
        with replica.average_parameters("all"):
            assert same(state(evaluated), state(model), ["0.weight", "2.weight"])


def test_a_replica_of_another_model_is_refused(
    client: Client, backbone_frozen: tuple[EMA, dict[str, Any]], registers: bool
) -> None:
    ema, _ = backbone_frozen
    for model, match in (
        (nn.Sequential(*make_model(2), nn.Linear(2, 2)), "'3.weight' is not in the shadow"),
        (make_model(2)[:2], "'2.bias' is not in the module"),
    ):
        replica = EMA(model, client, run=ema.run, replica=True)
        if registers:
            replica.register()
        with pytest.raises(FailedPreconditionError, match=match):
            replica.apply_shadow()
