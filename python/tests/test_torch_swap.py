"""Raw weights come back whatever happened while a shadow was in their place, and a swap that fails changes nothing."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

from shadowkeep import Client, averages  # noqa: E402
from shadowkeep.torch import EMA  # noqa: E402

SEED = 11


class Model(nn.Module):
    """A tied weight, batch norm, a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.body = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(4, 3, bias=False)
        self.head.weight = self.body.weight
        # It is not kept while a shadow is applied: what cannot be undone is not done to it.
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.frozen.load_state_dict({"weight": torch.ones(2, 2), "bias": torch.zeros(2)})

    def forward(self, x: Any) -> Any:
        return self.norm(self.body(x)) + self.head(x)


def state(model: nn.Module) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


@contextmanager
def averaged(client: Client, run_name: str, model: nn.Module) -> Iterator[EMA]:
    """An EMA whose average is half-way between weights that are 10 apart."""
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(10)
        ema.update()
        yield ema


def assign(model: Model) -> None:
    copies = {name: value.clone() for name, value in model.state_dict().items()}
    frozen = model.frozen
    del model.frozen
    model.load_state_dict(copies, assign=True, strict=False)
    model.frozen = frozen


def load(model: Model) -> None:
    zeros = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(zeros | {f"frozen.{name}": value for name, value in model.frozen.state_dict().items()})


def new_parameter(model: Model) -> None:
    model.body.weight = nn.Parameter(torch.zeros(3, 4))


def delete_parameter(model: Model) -> None:
    del model.body.weight


def new_data(model: Model) -> None:
    model.body.weight.data = torch.zeros(3, 4)


def other_shape(model: Model) -> None:
    model.body.weight.data = torch.zeros(1)


def new_buffer(model: Model) -> None:
    model.norm.running_mean = torch.full((3,), 7.0)


def overwriting(change: Callable[[Model], object]) -> Callable[[Model], None]:
    """Conversions of modules that make new parameters in place of `.data = ...`."""

    def changed(model: Model) -> None:
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            change(model)
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)

    changed.__name__ = "overwriting"
    return changed


def swapping(model: Model) -> None:
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        model.half().float()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def train(model: Model) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(torch.randn(5, 4)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.half().float(),
        lambda model: model.double().float(),
        lambda model: model.body.bfloat16(),
        lambda model: model.body.half(),
        overwriting(lambda model: model.body.half().float()),
        overwriting(lambda model: model.body.half()),
        lambda model: model.body.to("meta"),
        swapping,
        assign,
        load,
        new_parameter,
        delete_parameter,
        new_data,
        other_shape,
        new_buffer,
        train,
        lambda model: model.share_memory(),
        lambda model: torch.compile(model),
    ],
)
@pytest.mark.filterwarnings("ignore:the model changed")
def test_raw_weights_come_back_whatever_was_done(client: Client, run_name: str, change: Any) -> None:
    model = Model()
    with averaged(client, run_name, model) as ema:
        raw, objects = state(model), dict(model.named_parameters())
        with ema.average_parameters():
            assert not same(state(model), raw)
            change(model)
        assert all(tensor is objects[name] for name, tensor in model.named_parameters())
        assert model.head.weight is model.body.weight
        assert same(state(model), raw)


def test_training_goes_on_with_the_optimizer_that_there_was(client: Client, run_name: str) -> None:
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with averaged(client, run_name, model) as ema:
        with ema.average_parameters():
            assign(model)
        before = model.body.weight.detach().clone()
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        assert not torch.equal(model.body.weight, before)
        assert ema.update()


def test_a_narrower_dtype_is_undone_and_said(client: Client, run_name: str) -> None:
    model = Model()
    with averaged(client, run_name, model) as ema:
        raw = state(model)
        ema.apply_shadow()
        model.body.half()
        with pytest.warns(RuntimeWarning, match="'body.weight', 'body.bias' were converted"):
            ema.restore()
        assert torch.equal(model.body.weight, raw["body.weight"])


def test_a_wider_dtype_stays(client: Client, run_name: str) -> None:
    model = nn.Linear(3, 2)
    with averaged(client, run_name, model) as ema:
        raw = state(model)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with ema.average_parameters():
                model.double()
        assert model.weight.dtype == torch.float64
        assert torch.equal(model.weight, raw["weight"].double())


def test_a_tensor_that_was_moved_into_another_place_gets_its_values_there(client: Client, run_name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    with averaged(client, run_name, model) as ema:
        raw = state(model)
        ema.apply_shadow()
        halve: Any = prune.l1_unstructured
        halve(model[0], "weight", amount=0.5)
        with pytest.warns(RuntimeWarning, match=r"'0.weight_orig'.* new"):
            ema.restore()
        assert torch.equal(model[0].weight_orig, raw["0.weight"])
        with pytest.raises(RuntimeError, match=r"'0.weight_orig'.*'0.weight' gone"):
            ema.update()
        ema.abandon()


def test_what_has_no_place_any_more_is_said(client: Client, run_name: str) -> None:
    model = Model()
    with averaged(client, run_name, model) as ema:
        ema.apply_shadow()
        model.norm = nn.Identity()  # type: ignore[assignment]
        model.extra = nn.Linear(2, 2)
        with pytest.warns(RuntimeWarning, match="'norm.weight', .* no place .*'extra.weight', 'extra.bias' are new"):
            ema.restore()
        ema.abandon()


def test_a_module_that_was_replaced_by_a_copy_gets_the_raw_weights(client: Client, run_name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    with averaged(client, run_name, model) as ema:
        raw = state(model)
        ema.apply_shadow()
        model[1] = copy.deepcopy(model[1])
        with pytest.warns(RuntimeWarning, match=r"'1.weight', '1.bias' are in other modules"):
            ema.restore()
        assert same(state(model), raw)
        assert ema.update()


def test_averages_of_different_tensors_one_after_the_other(client: Client, run_name: str) -> None:
    model = nn.Linear(3, 2)
    rules = [
        averages.textbook(decay=0.5, include=["weight"], name="weights"),
        averages.textbook(decay=0.5, include=["bias"], name="biases"),
    ]
    with EMA(model, client, run=run_name, averages=rules) as ema, torch.no_grad():
        ema.register()
        for parameter in model.parameters():
            parameter.add_(10)
        ema.update()
        raw = state(model)
        ema.apply_shadow("weights")
        ema.apply_shadow("biases")
        assert torch.equal(model.weight, raw["weight"])
        assert not torch.equal(model.bias, raw["bias"])
        ema.restore()
        assert same(state(model), raw)


class Repeating(nn.Module):
    """Buffers and parameters whose memory is not as copies like it."""

    grid: Any

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Parameter(torch.zeros(2, 3))
        self.turned = nn.Parameter(torch.zeros(4, 3).t())
        self.strided = nn.Parameter(torch.zeros(4, 6)[::2, ::3])
        self.expanded = nn.Parameter(torch.ones(3).expand(2, 3))
        self.register_buffer("grid", torch.arange(3.0).expand(2, 3))
        self.register_buffer("scalar", torch.tensor(5).expand(2, 0, 3))
        self.register_buffer("counts", torch.tensor([[1], [2]]).expand(2, 4))


def test_memory_that_repeats_or_has_gaps(client: Client, run_name: str) -> None:
    model = Repeating()
    with EMA(model, client, run=run_name, decay=0.5) as ema, torch.no_grad():
        ema.register()
        model.strided.fill_(8)
        model.turned.fill_(8)
        model.expanded[0].fill_(9)
        ema.update()
        raw = state(model)
        with ema.average_parameters():
            assert (model.strided == 4).all()
            assert (model.turned == 4).all()
            assert (model.expanded == 5).all()
            assert model.grid.tolist() == [[0, 1, 2], [0, 1, 2]]
        assert same(state(model), raw)
        assert model.expanded.stride() == (0, 1)
        assert ema.update()


def test_values_that_differ_do_not_fit_into_repeated_memory(client: Client, run_name: str) -> None:
    model = Repeating()
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
    evaluated = Repeating()
    evaluated.plain = nn.Parameter(torch.ones(3).expand(2, 3))
    with torch.no_grad():
        model.plain[0] += 1
    with EMA(model, client, run=f"{run_name}-differing", decay=0.5) as ema:
        ema.register()
    raw = state(evaluated)
    replica = EMA(evaluated, client, run=f"{run_name}-differing", replica=True)
    with pytest.raises(ValueError, match="'plain' repeats the same memory"):
        replica.apply_shadow()
    assert same(state(evaluated), raw)
    assert not replica.applied


def failing_copies(monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException) -> None:
    """Let the copies into the model fail after some."""
    real: Any = torch.Tensor.copy_
    done = [0]

    def copy_(tensor: Any, source: Any, *args: Any) -> Any:
        done[0] += 1
        if done[0] == after:
            raise error
        return real(tensor, source, *args)

    monkeypatch.setattr(torch.Tensor, "copy_", copy_)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_swap_that_fails_midway_leaves_the_model_as_it_was(
    client: Client, run_name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    with averaged(client, run_name, model) as ema:
        raw = state(model)
        with monkeypatch.context() as patch:
            failing_copies(patch, 3, error)
            with pytest.raises(type(error)):
                ema.apply_shadow()
        assert same(state(model), raw)
        assert not ema.applied
        assert ema.update()
        ema.apply_shadow()
        applied = state(model)
        ema_step = ema.step
        with monkeypatch.context() as patch:
            failing_copies(patch, 3, error)
            with pytest.raises(type(error)):
                ema.apply_shadow(step=ema_step)
        assert same(state(model), applied)
        with monkeypatch.context() as patch:
            failing_copies(patch, 3, error)
            with pytest.raises(type(error)):
                ema.restore()
        assert ema.applied
        ema.restore()
        assert same(state(model), raw)


def test_tensors_made_in_inference_mode(client: Client, run_name: str) -> None:
    with torch.inference_mode():
        model = nn.Linear(3, 2)
    with EMA(model, client, run=run_name, decay=0.0) as ema:
        ema.register()
        raw = state(model)
        with torch.inference_mode():
            model.weight.fill_(3)
        ema.update()
        with torch.inference_mode():
            model.weight.copy_(raw["weight"])
        with ema.average_parameters():
            assert (model.weight == 3).all()
        assert same(state(model), raw)
