"""`shadowkeep.torch.EMA` against the textbook class, on the real server."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from cutting_proxy import free_port  # noqa: E402
from support import Server, ulp_distance  # noqa: E402

import shadowkeep  # noqa: E402
from shadowkeep import Client, averages  # noqa: E402
from shadowkeep.torch import EMA, load_shadow  # noqa: E402

SEED = 3
ULP_PER_STEP = 2


class TextbookEMA:
    """The class that people copy from blog to blog, with its arithmetic and without its bugs."""

    def __init__(self, model: Any, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self, model: Any) -> None:
        for name, p in model.named_parameters():
            self.shadow[name] = self.decay * self.shadow[name] + (1 - self.decay) * p


def make_model(dtype: Any = None) -> Any:
    torch.manual_seed(SEED)
    layers = [torch.nn.Linear(20, 40), torch.nn.BatchNorm1d(40), torch.nn.ReLU(), torch.nn.Linear(40, 3)]
    return torch.nn.Sequential(*layers).to(dtype or torch.float32)


def train_step(model: Any, optimizer: Any) -> None:
    dtype = next(model.parameters()).dtype
    loss = model(torch.randn(16, 20, dtype=dtype)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def raw_state(model: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def update_and_flush(ema: EMA) -> None:
    ema.update()
    ema.flush()


def update_often(ema: EMA) -> None:
    for _ in range(10_000):
        ema.update()


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_numbers_are_the_textbook_class(client: Client, run_name: str) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    textbook = TextbookEMA(model, decay=0.9)
    steps = 20
    with EMA(model, client, run=run_name, decay=0.9) as ema:
        ema.register()
        for _ in range(steps):
            train_step(model, optimizer)
            textbook.update(model)
            assert ema.update()
        assert ema.step == steps
        trained = raw_state(model)
        with ema.average_parameters():
            for name, parameter in model.named_parameters():
                expected = textbook.shadow[name].numpy()
                scale = np.maximum(np.abs(expected), 1e-3).astype(np.float32)
                assert ulp_distance(parameter.detach().numpy(), expected, scale) <= ULP_PER_STEP * steps
            assert torch.equal(model[1].running_mean, trained["1.running_mean"])
        assert equal(raw_state(model), trained)


def test_bf16_wire_averages_the_rounded_weights(client: Client, run_name: str) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with EMA(model, client, run=run_name, decay=0.5, wire_dtype="BF16") as ema:
        ema.register()
        expected = [p.detach().bfloat16().float() for p in model.parameters()]
        for _ in range(5):
            train_step(model, optimizer)
            ema.update()
            rounded = [p.detach().bfloat16().float() for p in model.parameters()]
            expected = [s + 0.5 * (p - s) for s, p in zip(expected, rounded, strict=True)]
        with ema.average_parameters():
            assert all(torch.equal(p, s) for p, s in zip(model.parameters(), expected, strict=True))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_models_of_other_dtypes(client: Client, run_name: str, dtype: str) -> None:
    model = make_model(getattr(torch, dtype))
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
        before = [p.detach().double() for p in model.parameters()]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.25)
        after = [p.detach().double() for p in model.parameters()]
        ema.update()
        with ema.average_parameters():
            for parameter, a, b in zip(model.parameters(), before, after, strict=True):
                assert parameter.dtype == getattr(torch, dtype)
                assert torch.equal(parameter, (a + (b - a) / 2).to(parameter.dtype))


def test_several_averages_of_one_push(client: Client, run_name: str) -> None:
    model = torch.nn.Linear(3, 2)
    rules: Any = [averages.textbook(decay=0.5), [averages.torch_swa(), averages.edm2(stds=[0.05, 0.1])]]
    with EMA(model, client, run=run_name, averages=rules) as ema, torch.no_grad():
        model.weight.fill_(0)
        ema.register()
        for value in (1, 2, 3):
            model.weight.fill_(value)
            ema.update()
        ema.apply_shadow()
        assert (model.weight == ((0.5 * 0.5 + 1) * 0.5 + 1.5)).all()
        ema.apply_shadow("torch-swa")
        assert torch.allclose(model.weight, torch.tensor(2.0))
        with ema.average_parameters("edm2-0.05"):
            assert (model.weight > 2).all()
        ema.restore()
        assert (model.weight == 3).all()
        with pytest.raises(shadowkeep.NotFoundError, match="nobody"):
            ema.apply_shadow("nobody")
        assert (model.weight == 3).all()


def test_an_average_of_some_tensors_is_applied_to_those(client: Client, run_name: str) -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    rules = [averages.textbook(decay=0.5, exclude=["w*"], include=["*"], name="rest"), averages.textbook(decay=0.5)]
    model.scale = torch.nn.Parameter(torch.zeros(2))
    with EMA(model, client, run=run_name, averages=rules) as ema, torch.no_grad():
        ema.register()
        model.weight.fill_(4)
        model.scale.fill_(4)
        ema.update()
        with ema.average_parameters("rest"):
            assert (model.scale == 2).all()
            assert (model.weight == 4).all()


def test_a_replica_applies_what_another_process_pushes(client: Client, run_name: str) -> None:
    model, other = make_model(), make_model()
    with EMA(model, client, run=run_name, decay=0.0) as ema, EMA(other, client, run=run_name, replica=True) as replica:
        ema.register()
        with torch.no_grad():
            model[0].weight.fill_(7)
        ema.update()
        ema.flush()
        with replica.average_parameters():
            assert (other[0].weight == 7).all()
        replica.register()
        assert not replica.update()
        assert client.get_run(run_name).commits == 2
        with replica.average_parameters(min_step=1):
            assert (other[0].weight == 7).all()
    wrong = EMA(torch.nn.Linear(20, 40), client, run=run_name, replica=True)
    with pytest.raises(shadowkeep.FailedPreconditionError, match="is not in the shadow"):
        wrong.apply_shadow()


def test_applying_twice_and_editing_never_loses_the_raw_weights(client: Client, run_name: str) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with EMA(model, client, run=run_name, decay=0.9) as ema:
        ema.register()
        train_step(model, optimizer)
        ema.update()
        trained = raw_state(model)
        ema.apply_shadow()
        applied = raw_state(model)
        with torch.no_grad():
            model[0].weight.add_(100)
        ema.apply_shadow()
        assert equal(raw_state(model), applied)
        ema.restore()
        assert equal(raw_state(model), trained)
        with pytest.raises(RuntimeError, match="apply_shadow"):
            ema.restore()


def test_update_while_applied_is_refused(client: Client, run_name: str) -> None:
    model = make_model()
    with EMA(model, client, run=run_name) as ema:
        ema.register()
        with ema.average_parameters():
            with pytest.raises(RuntimeError, match="restore"):
                ema.update()
            with ema.average_parameters():
                pass
            with pytest.raises(RuntimeError, match="restore"):
                ema.update()
        assert ema.update()


def test_a_failed_apply_leaves_the_model_as_it_was(client: Client, run_name: str) -> None:
    model = make_model()
    with EMA(model, client, run=run_name) as ema:
        ema.register()
        trained = raw_state(model)
        with pytest.raises(shadowkeep.DeadlineExceededError):
            ema.apply_shadow(min_step=1_000, timeout=0.05)
        assert equal(raw_state(model), trained)
        ema.update()


@pytest.mark.parametrize("buffers", ["copy", "average", "ignore"])
def test_buffers(client: Client, run_name: str, buffers: Any) -> None:
    model = make_model()
    with EMA(model, client, run=run_name, decay=0.75, buffers=buffers) as ema:
        ema.register()
        model[1].running_mean.fill_(8.0)
        model[1].num_batches_tracked.fill_(5)
        ema.update()
        ema.flush()
        model[1].running_mean.fill_(1.0)
        with ema.average_parameters():
            expected = {"copy": 8.0, "average": 2.0, "ignore": 1.0}[buffers]
            assert model[1].running_mean.tolist() == [expected] * 40
            assert model[1].num_batches_tracked.item() == 5
        assert model[1].running_mean.tolist() == [1.0] * 40


def test_weights_may_change_at_once_after_update(client: Client, run_name: str) -> None:
    model = torch.nn.Linear(2_000, 1_000, bias=False)
    with EMA(model, client, run=run_name, decay=0.5) as ema, torch.no_grad():
        model.weight.fill_(0)
        ema.register()
        for value in (1, 2, 3, 4):
            model.weight.fill_(value)
            ema.update()
            model.weight.fill_(-100)
        ema.apply_shadow()
        assert (model.weight == ((0.5 * 0.5 + 1) * 0.5 + 1.5) * 0.5 + 2).all()


def test_replaced_parameters_are_followed(client: Client, run_name: str) -> None:
    model = torch.nn.Linear(3, 2)
    with EMA(model, client, run=run_name, decay=0.0) as ema:
        ema.register()
        model.weight.data = torch.full((2, 3), 7.0)
        model.bias = torch.nn.Parameter(torch.full((2,), 8.0))
        ema.update()
        shadow = client.get_shadow(run_name, min_step=1)
        assert (shadow.tensors["weight"] == 7).all()
        assert (shadow.tensors["bias"] == 8).all()
        model.weight = torch.nn.Parameter(torch.zeros(1, 3))
        with pytest.raises(RuntimeError, match=r"'weight' has shape \[1, 3\]"):
            ema.update()
        model.weight = torch.nn.Parameter(torch.zeros(2, 3))
        ema.update()


def test_a_resumed_trainer_goes_on(client: Client, run_name: str) -> None:
    model = make_model()
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
        for step in (10, 20, 30):
            ema.update(step)
    with EMA(model, client, run=run_name, decay=0.5) as resumed:
        resumed.register(30)
        assert resumed.step == 30
        resumed.update(30)
        resumed.update(40)
        resumed.flush()
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates) == (40, 4)


def test_an_older_trainer_is_fenced(client: Client, run_name: str) -> None:
    model = make_model()
    old = EMA(model, client, run=run_name)
    old.register()
    with EMA(model, client, run=run_name) as new:
        new.register()
        new.update()
        with pytest.raises(shadowkeep.AbortedError) as caught:
            update_and_flush(old)
        assert caught.value.reason == "GENERATION_FENCED"
        with pytest.raises(shadowkeep.AbortedError):
            old.close()


def test_another_layout_names_the_tensor(client: Client, run_name: str) -> None:
    with EMA(make_model(), client, run=run_name) as ema:
        ema.register()
    other = make_model()
    other[3] = torch.nn.Linear(40, 4)
    with pytest.raises(shadowkeep.FailedPreconditionError, match=r"3\.weight") as caught:
        EMA(other, client, run=run_name).register()
    assert caught.value.reason == "LAYOUT_MISMATCH"


def test_on_busy_skip_drops_steps_while_the_snapshot_is_leaving(client: Client, run_name: str) -> None:
    model = torch.nn.Linear(1_000, 4_000)
    with EMA(model, client, run=run_name, on_busy="skip") as ema:
        ema.register()
        attempts = 0
        while ema.dropped_steps == 0 and attempts < 1_000:
            ema.update()
            attempts += 1
        assert ema.dropped_steps > 0
        ema.flush()
        assert ema.update()
        ema.flush()
        assert client.get_run(run_name).states[0].num_updates == ema.step - ema.dropped_steps


def test_steps_must_rise(client: Client, run_name: str) -> None:
    with EMA(make_model(), client, run=run_name) as ema:
        ema.register()
        ema.update(5)
        with pytest.raises(ValueError, match="larger than the last one, 5, got 5"):
            ema.update(5)


def test_bad_use() -> None:
    bad: Any = "never"
    with pytest.raises(ValueError, match="on_busy"):
        EMA(make_model(), "127.0.0.1:1", run="r", on_busy=bad)
    with pytest.raises(ValueError, match="buffers"):
        EMA(make_model(), "127.0.0.1:1", run="r", buffers=bad)
    with pytest.raises(ValueError, match="frozen"):
        EMA(make_model(), "127.0.0.1:1", run="r", frozen=bad)
    with pytest.raises(ValueError, match="exclude each other"):
        EMA(make_model(), "127.0.0.1:1", run="r", decay=0.5, averages=[averages.torch_swa()])
    with pytest.raises(ValueError, match="averages is empty"):
        EMA(make_model(), "127.0.0.1:1", run="r", averages=[])
    with pytest.raises(TypeError, match="'never'"):
        EMA(make_model(), "127.0.0.1:1", run="r", averages=[bad])
    ema = EMA(make_model(), f"127.0.0.1:{free_port()}", run="r", reconnect_timeout=0.5)
    with pytest.raises(RuntimeError, match="register"):
        ema.update()
    with pytest.raises(shadowkeep.UnavailableError):
        ema.register()


def test_the_server_dies_and_the_training_thread_hears_of_it(run_name: str) -> None:
    model = torch.nn.Linear(1_000, 4_000)
    with Server() as server:
        ema = EMA(model, server.target, run=run_name, reconnect_timeout=1.0, on_failure="raise")
        ema.register()
        threading.Timer(0.1, server.kill).start()
        with pytest.raises(shadowkeep.UnavailableError):
            update_often(ema)
        ema.abandon()


def test_an_evaluator_loads_the_shadow_into_its_own_module(client: Client, run_name: str) -> None:
    model, evaluated = make_model(), make_model()
    with EMA(torch.nn.DataParallel(model), client, run=run_name, decay=0.0) as ema:
        ema.register()
        with torch.no_grad():
            model[0].weight.add_(1)
        ema.update()
        ema.flush()
    load_shadow(client.get_shadow(run_name, min_step=1), evaluated)
    assert equal(raw_state(evaluated), raw_state(model))
