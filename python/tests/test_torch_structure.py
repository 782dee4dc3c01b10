"""A model that is changed after it was registered: what stands under the same names is followed, the rest refused."""

from __future__ import annotations

import gc
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from shadowkeep import Client  # noqa: E402
from shadowkeep.torch import EMA  # noqa: E402


class Model(nn.Module):
    """A body, a head, a layer tied to the body by its parameter and one tied by its memory, buffers."""

    late: Any
    cache: Any
    head: Any
    body: Any

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.tied, self.sharing = (nn.Linear(2, 2) for _ in range(4))
        self.tied.weight = self.body.weight
        self.sharing.weight = nn.Parameter(self.body.weight.data)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("late", None)
        self.register_buffer("cache", torch.zeros(1), persistent=False)


class Adapter(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.low = nn.Parameter(torch.zeros(2, 2))


def other_head(model: Model) -> Any:
    model.head = nn.Linear(2, 2)
    return model.head.weight


def head_in_the_same_memory(model: Model) -> Any:
    """Its objects may get the identities of those that are gone."""
    del model.head
    gc.collect()
    model.head = nn.Linear(2, 2)
    return model.head.weight


def other_parameter(model: Model) -> Any:
    model.head.bias = nn.Parameter(torch.zeros(2))
    return model.head.bias


def newly_tied(model: Model) -> Any:
    model.head.weight = model.body.weight
    return model.head.weight


def other_buffer(model: Model) -> Any:
    model.norm.running_mean = torch.zeros(2)
    return model.norm.running_mean


def compiled(model: Model) -> Any:
    model.head = torch.compile(model.head)
    return model.head.weight


def data_parallel(model: Model) -> Any:
    model.head = nn.DataParallel(model.head)
    return model.head.module.weight


def other_cache(model: Model) -> Any:
    model.cache = torch.zeros(7)
    return model.head.weight


def another_dtype(model: Model) -> Any:
    model.head.bfloat16()
    return model.head.weight


@pytest.mark.parametrize(
    "change",
    [
        other_head, head_in_the_same_memory, other_parameter, newly_tied, other_buffer, compiled, data_parallel,
        other_cache, another_dtype,
    ],
)  # fmt: skip
def test_what_stands_under_the_same_name_is_followed(client: Client, run_name: str, change: Any) -> None:
    model = Model()
    with EMA(model, client, run=run_name, decay=0.0) as ema:
        ema.register()
        assert ema.update()
        tensor = change(model)
        with torch.no_grad():
            tensor.fill_(3)
            assert ema.update()
            tensor.fill_(4)
            with ema.average_parameters():
                assert (tensor == 3).all()
            assert (tensor == 4).all()
            assert ema.update()


def added(model: Model) -> None:
    model.extra = nn.Linear(2, 2)


def added_deep(model: Model) -> None:
    model.head.extra = nn.Sequential(nn.Identity(), nn.Linear(2, 2))


def adapted(model: Model) -> None:
    model.head = Adapter(model.head)


def untied(model: Model) -> None:
    model.tied.weight = nn.Parameter(torch.zeros(2, 2))


def untied_memory(model: Model) -> None:
    model.sharing.weight.data = torch.zeros(2, 2)


def late_buffer(model: Model) -> None:
    model.late = torch.zeros(2)


def persistent_now(model: Model) -> None:
    model._non_persistent_buffers_set.discard("cache")


def removed(model: Model) -> None:
    model.head = nn.Identity()


def set_to_none(model: Model) -> None:
    model.head.bias = None


def renamed(model: Model) -> None:
    model.top = model.head
    del model.head


def parametrized(model: Model) -> None:
    parametrizations.orthogonal(model.head)


def other_shape(model: Model) -> None:
    model.head.weight.data = torch.zeros(2, 3)


def integers(model: Model) -> None:
    model.norm.running_mean = torch.zeros(2, dtype=torch.int64)


def without_values(model: Model) -> None:
    model.head.to("meta")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (added, "'extra.weight', 'extra.bias' now"),
        (added_deep, "'head.extra.1.weight', 'head.extra.1.bias' now"),
        (adapted, "'head.low', 'head.inner.weight', 'head.inner.bias' now, and 'head.weight', 'head.bias' gone"),
        (untied, "'tied.weight', which was tied to 'body.weight' now"),
        (untied_memory, "'sharing.weight', which was tied to 'body.weight' now"),
        (late_buffer, "'late' now"),
        (persistent_now, "'cache' now"),
        (removed, "'head.weight', 'head.bias' gone"),
        (set_to_none, "'head.bias' gone"),
        (renamed, "'top.weight', 'top.bias' now, and 'head.weight', 'head.bias' gone"),
        (parametrized, "'head.parametrizations.weight.original', .* now, and 'head.weight' gone"),
        (other_shape, r"'head.weight' has shape \[2, 3\]"),
        (integers, "'norm.running_mean' has .*int64"),
        (without_values, "'head.weight' has no values, it is on the meta device"),
    ],
)
def test_other_tensors_are_refused_by_name(client: Client, run_name: str, change: Any, problem: str) -> None:
    model = Model()
    ema = EMA(model, client, run=run_name, decay=0.0)
    ema.register()
    assert ema.update()
    change(model)
    for _ in range(2):
        with pytest.raises((RuntimeError, TypeError), match=problem):
            ema.update()
    ema.flush()
    assert client.get_run(run_name).committed_step == 1
    ema.abandon()


def test_an_average_is_not_applied_to_other_tensors(client: Client, run_name: str) -> None:
    model = Model()
    ema = EMA(model, client, run=run_name, decay=0.0)
    ema.register()
    added(model)
    with pytest.raises(RuntimeError, match=r"'extra.weight', 'extra.bias' now"):
        ema.apply_shadow()
    assert not ema.applied
    ema.abandon()


def test_a_change_that_is_taken_back_is_none(client: Client, run_name: str) -> None:
    model = Model()
    with EMA(model, client, run=run_name, decay=0.0) as ema:
        ema.register()
        added(model)
        with pytest.raises(RuntimeError, match=r"'extra.weight'"):
            ema.update()
        del model.extra
        assert ema.update()


def test_what_is_left_out_may_change(client: Client, run_name: str) -> None:
    model = Model()
    with EMA(model, client, run=run_name, decay=0.0, buffers="ignore", policies={"head*": "IGNORE"}) as ema:
        ema.register()
        late_buffer(model)
        model.head = Adapter(model.head)
        assert ema.update()
        model.head = nn.Identity()
        assert ema.update()


def test_many_names_are_counted(client: Client, run_name: str) -> None:
    model = Model()
    ema = EMA(model, client, run=run_name, decay=0.0)
    ema.register()
    model.extra = nn.Sequential(*(nn.Linear(1, 1) for _ in range(6)))
    with pytest.raises(RuntimeError, match="and 7 more now"):
        ema.update()
    ema.abandon()
