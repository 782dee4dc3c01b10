"""Steps that the optimizer skipped, and those that the service rejects, on the real server."""

from __future__ import annotations

import warnings
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
    watch = ScaleWatch(torch.amp.GradScaler("cpu", enabled=False), make_model(), None)
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


def test_the_rejected_steps_are_named_at_the_end(client: Client, run_name: str) -> None:
    model = make_model()
    with warnings.catch_warnings(record=True) as caught, EMA(model, client, run=run_name, decay=0.5) as ema:
        warnings.simplefilter("always")
        ema.register()
        for step in range(1, 8):
            fill(model, float("nan") if step in (2, 3, 6) else 1.0)
            ema.update()
        ema.close()
    first, last = [str(warning.message) for warning in caught]
    assert first.startswith(f"run '{run_name}', step 2 was rejected and is in no average (non_finite=")
    assert last.endswith("3 steps were rejected for infinities or NaN and are in no average: 2 to 3, 6")


def test_warnings_that_are_errors_are_raised_where_the_trainer_is(client: Client, run_name: str) -> None:
    model = make_model()
    ema = EMA(model, client, run=run_name, decay=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ema.register()
        fill(model, float("nan"))
        ema.update()
        with pytest.raises(RuntimeWarning, match="weight"):
            ema.flush()
        fill(model, 8)
        assert ema.update()
        ema.close()
    assert client.get_shadow(run_name).tensors["weight"][0, 0] == 4


@pytest.mark.parametrize(("wire_dtype", "narrow"), [("F16", True), (None, False)])
def test_values_that_only_their_wire_dtype_makes_infinite(
    client: Client, run_name: str, wire_dtype: Any, narrow: bool
) -> None:
    model = make_model()
    ema = EMA(model, client, run=run_name, wire_dtype=wire_dtype)
    ema.register()
    fill(model, 1e6 if narrow else float("inf"))
    ema.update()
    with pytest.warns(RuntimeWarning, match="weight") as caught:
        ema.close()
    assert ("as it travels, in F16: above 65504" in str(caught[0].message)) == narrow
    fill(model, 1e6)
    again = EMA(model, client, run=f"{run_name}-again", wire_dtype=wire_dtype)
    if narrow:
        with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match=r"cannot begin.*'weight'.*in F16"):
            again.register()
    else:
        again.register()
    again.abandon()
