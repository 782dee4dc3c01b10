"""Steps that the optimizer skipped, and those that the service rejects, on the real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from shadowkeep import Client  # noqa: E402
from shadowkeep.torch import EMA  # noqa: E402
from shadowkeep.torch.scale import ScaleWatch  # noqa: E402


def make_model() -> Any:
    model = torch.nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.fill_(0)
    return model


def fill(model: Any, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


def test_a_skipped_step_is_not_folded(client: Client, run_name: str) -> None:
    model = make_model()
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
        fill(model, 8)
        assert ema.update()
        assert not ema.update(skipped=True)
        with pytest.raises(ValueError, match="larger than the last one, 2"):
            ema.update(2)
        with ema.average_parameters():
            assert (model.weight == 4).all()
        assert ema.update()
        assert (ema.step, ema.skipped_steps) == (3, 1)
        with ema.average_parameters():
            assert (model.weight == 6).all()
    assert client.get_shadow(run_name).num_updates == 2


def test_a_run_that_begins_with_skipped_steps(client: Client, run_name: str) -> None:
    model = make_model()
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
        ema.update(skipped=True)
        ema.update(skipped=True)
        with ema.average_parameters():
            assert (model.weight == 0).all()
        fill(model, 2)
        ema.update()
        with ema.average_parameters():
            assert (model.weight == 1).all()


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_scaler_that_skips(client: Client, run_name: str, fused: bool) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    expected = torch.zeros(2, 4)
    with EMA(model, client, run=run_name, decay=0.5, scaler=scaler) as ema:
        ema.register()
        skips = []
        for bad in (False, True, False, False, False, True, True, False):
            loss = model(torch.ones(1, 4)).sum() * (float("inf") if bad else 1.0)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            before = model.weight.detach().clone()
            scaler.step(optimizer)
            scaler.update()
            assert torch.equal(model.weight, before) == bad
            skips.append(not ema.update())
            expected = expected if bad else 0.5 * expected + 0.5 * model.weight.detach()
        assert skips == [False, True, False, False, False, True, True, False]
        assert ema.skipped_steps == 3
        with ema.average_parameters():
            assert torch.allclose(model.weight, expected, rtol=1e-6)


def test_a_disabled_scaler_skips_nothing() -> None:
    watch = ScaleWatch(torch.amp.GradScaler("cpu", enabled=False), list)
    assert [watch.skipped(), watch.skipped()] == [False, False]
    watch.close()


def load_lower_scale(scaler: Any) -> None:
    scaler.load_state_dict({**scaler.state_dict(), "scale": 16.0})


def set_lower_scale(scaler: Any) -> None:
    scaler.update(new_scale=16.0)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("lower", [load_lower_scale, set_lower_scale])
def test_a_scale_that_is_lowered_by_hand_skips_nothing(
    client: Client, run_name: str, lower: Callable[[Any], None], fused: bool
) -> None:
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with EMA(model, client, run=run_name, decay=0.5, scaler=scaler) as ema:
        ema.register()
        for _ in range(2):
            scaler.scale(model(torch.ones(1, 4)).sum()).backward()
            scaler.step(optimizer)
            lower(scaler)
            assert ema.update()
            if lower is load_lower_scale:
                scaler.update()
        assert ema.skipped_steps == 0


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaler_of_two_optimizers_skips_for_each(client: Client, run_name: str, fused: bool) -> None:
    models = [make_model(), make_model()]
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.1, fused=fused) for model in models]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with EMA(models[0], client, run=run_name, decay=0.5, scaler=scaler) as ema:
        ema.register()
        pushed = []
        for bad in ((), (1,), (0,), (0, 1), (1,)):
            for number, model in enumerate(models):
                optimizers[number].zero_grad()
                loss = model(torch.ones(1, 4)).sum() * (float("inf") if number in bad else 1.0)
                scaler.scale(loss).backward()
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
            pushed.append(ema.update())
        assert pushed == [True, True, False, False, True]
        assert ema.skipped_steps == 2


def test_a_model_that_begins_with_nan_is_refused(client: Client, run_name: str) -> None:
    model = make_model()
    fill(model, float("nan"))
    with pytest.warns(RuntimeWarning, match="weight"), pytest.raises(RuntimeError, match="cannot begin"):
        EMA(model, client, run=run_name).register()
    accepting = EMA(model, client, run=f"{run_name}-accepted", non_finite="ACCEPT")
    with accepting:
        accepting.register()


def test_a_rejected_step_changes_nothing_and_is_said(client: Client, run_name: str) -> None:
    model = make_model()
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
        fill(model, 8)
        ema.update()
        fill(model, float("nan"))
        ema.update()
        with pytest.warns(RuntimeWarning, match="weight"), ema.average_parameters():
            assert (model.weight == 4).all()
        assert ema.rejected_steps == 1
        fill(model, 4)
        ema.update()
        with ema.average_parameters():
            assert (model.weight == 4).all()
    assert ema.rejected_steps == 1
