"""Names without the parts of wrappers, which are known by their classes; no server is needed."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from test_torch_module import shadow_of  # noqa: E402
from torch import nn  # noqa: E402
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper, offload_wrapper  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402

from shadowkeep import Client, FailedPreconditionError  # noqa: E402
from shadowkeep.torch import EMA, canonical_names, load_shadow  # noqa: E402
from shadowkeep.torch.names import named_tensors  # noqa: E402

# Each is a wrapper's child in torch or elsewhere.
PARTS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_module")


class Net(nn.Module):
    """Children of its own that are called like those of wrappers, beside tensors of the names that would be left."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.block = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        for part in PARTS:
            self.add_module(part, nn.Sequential())
            self.get_submodule(part).add_module("head", nn.Linear(3, 2))


def found(model: nn.Module, names: Any = None) -> list[str]:
    return [named.name for named in named_tensors(model, "copy", names=names)]


def bare_names() -> list[str]:
    net = Net()
    return [name for name, _ in (*net.named_parameters(), *net.named_buffers())]


def fake_wrapper(path: str, child: str) -> type[nn.Module]:
    """Return a class of another project that is not installed."""
    module, _, name = path.rpartition(".")

    def init(self: Any, inner: nn.Module) -> None:
        nn.Module.__init__(self)
        self.add_module(child, inner)

    return type(name, (nn.Module,), {"__module__": module, "__init__": init})


def fabric(model: nn.Module) -> Any:
    lightning = pytest.importorskip("lightning", reason="Fabric's wrapper needs lightning")
    return lightning.Fabric(accelerator="cpu", devices=1).setup(model)


def fabric_of_compiled(model: nn.Module) -> Any:
    return fabric(torch.compile(model))


WRAPPERS: list[Any] = [
    lambda model: model,
    nn.DataParallel,
    torch.compile,
    lambda model: nn.DataParallel(torch.compile(model)),
    lambda model: torch.compile(nn.DataParallel(model)),
    checkpoint_wrapper,
    offload_wrapper,
    fabric,
    fabric_of_compiled,
    fake_wrapper("opacus.grad_sample.gsm_base.AbstractGradSampleModule", "_module"),
    fake_wrapper("deepspeed.runtime.engine.DeepSpeedEngine", "module"),
    fake_wrapper("apex.parallel.distributed.DistributedDataParallel", "module"),
    type("Own", (nn.DataParallel,), {}),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrappers_leave_no_trace_and_children_of_their_names_keep_theirs(wrap: Any) -> None:
    assert found(wrap(Net())) == bare_names()


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, checkpoint_wrapper])
def test_wrappers_inside_of_a_model(wrap: Any) -> None:
    net = Net()
    net.block = wrap(net.block)
    net.block = nn.DataParallel(net.block)  # type: ignore[assignment]
    assert found(net) == bare_names()


def test_an_averaged_model_has_its_counter_besides() -> None:
    assert sorted(found(AveragedModel(Net()))) == sorted([*bare_names(), "n_averaged"])


@pytest.mark.parametrize("part", PARTS)
def test_a_module_of_the_users_own_is_no_wrapper(part: str) -> None:
    own = fake_wrapper("mine.Wrapper", part)
    model = own(nn.Linear(2, 2))
    assert found(model) == [f"{part}.weight", f"{part}.bias"]


def test_canonical_names_by_those_of_the_wrapped_model() -> None:
    net = nn.DataParallel(torch.compile(Net()))
    names = canonical_names(net)
    assert list(names) == [f"module._orig_mod.{name}" for name in canonical_names(Net())]
    assert list(names.values()) == list(canonical_names(Net()).values())


@pytest.mark.parametrize(
    "names",
    [
        {"wrapped.inner": ""},
        {"wrapped.inner.head": "head", "wrapped.inner": ""},
        lambda name: name.removeprefix("wrapped.inner."),
    ],
)
def test_names_for_wrappers_that_nobody_knows(names: Any) -> None:
    outer, inner = fake_wrapper("mine.Outer", "wrapped"), fake_wrapper("mine.Inner", "inner")
    model: Any = outer(inner(Net()))
    assert found(model) != bare_names()
    assert found(model, names) == bare_names()
    assert list(canonical_names(model, names).values()) == list(canonical_names(Net()).values())
    values = {named.name: torch.randn_like(named.tensor) for named in named_tensors(Net(), "ignore")}
    load_shadow(shadow_of(values), model, names=names)
    assert torch.equal(model.wrapped.inner.head.weight, values["head.weight"])


def test_the_longest_beginning_wins_and_ends_at_a_dot() -> None:
    model = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(1, 1)}), "ab": nn.Linear(1, 1)})
    assert found(model, {"a": "x", "a.b": "y", "a.b.bias": "z"}) == ["y.weight", "z", "ab.weight", "ab.bias"]


def test_two_tensors_of_one_name_are_refused() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match=r"two tensors of the model are called 'a.weight'"):
        found(model, {"b": "a"})


def test_a_shared_module_is_one_under_all_its_names() -> None:
    layer = nn.Linear(2, 2)
    model = nn.ModuleDict({"first": layer, "second": layer})
    (weight, bias) = named_tensors(model, "copy")
    assert weight.names == ["first.weight", "second.weight"]
    assert bias.names == ["first.bias", "second.bias"]


def test_a_shadow_of_tied_tensors_and_one_of_untied_ones_fit_both() -> None:
    tied = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    tied["b"].weight = tied["a"].weight
    untied = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    ones = torch.ones(2, 2)
    load_shadow(shadow_of({"b.weight": ones}), tied)
    assert torch.equal(tied["a"].weight, ones)
    load_shadow(shadow_of({"a.weight": ones * 2, "b.weight": ones * 2}), tied)
    assert torch.equal(tied["a"].weight, ones * 2)
    with pytest.raises(FailedPreconditionError, match=r"'b.weight' is not in the shadow"):
        load_shadow(shadow_of({"a.weight": ones}), untied)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda model: model])
def test_an_evaluators_model_takes_the_shadow_wrapped_or_not(client: Client, run_name: str, wrap: Any) -> None:
    trained = Net()
    with EMA(wrap(trained), client, run=run_name, decay=0.0) as ema:
        ema.register()
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.fill_(3)
        ema.update()
        ema.flush()
    for other in (Net(), nn.DataParallel(Net()), torch.compile(Net())):
        load_shadow(client.get_shadow(run_name, min_step=1), other)
        assert {float(parameter.mean()) for parameter in other.parameters()} == {3.0}
