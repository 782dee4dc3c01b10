"""Names, and loading a shadow into a module; no server is needed."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

import numpy as np  # noqa: E402

from shadowkeep import FailedPreconditionError, Shadow, wire  # noqa: E402
from shadowkeep.torch import load_shadow, shadow_tensors  # noqa: E402
from shadowkeep.torch.names import named_tensors  # noqa: E402


class Tied(torch.nn.Module):  # type: ignore[misc]
    """An embedding whose weight is the output layer's too, and buffers of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.out = torch.nn.Linear(3, 5, bias=False)
        self.out.weight = self.embedding.weight
        self.register_buffer("cache", torch.zeros(2), persistent=False)


def test_tied_tensors_once_and_buffers_by_policy() -> None:
    model = Tied()
    parameters = [("embedding.weight", "AVERAGE"), ("norm.weight", "AVERAGE"), ("norm.bias", "AVERAGE")]
    counter = ("norm.num_batches_tracked", "COPY")

    def found(buffers: Any) -> list[tuple[str, str]]:
        return [(named.name, named.policy) for named in named_tensors(model, buffers)]

    assert found("ignore") == parameters
    assert found("copy") == [*parameters, ("norm.running_mean", "COPY"), ("norm.running_var", "COPY"), counter]
    assert found("average") == [*parameters, ("norm.running_mean", "AVERAGE"), ("norm.running_var", "AVERAGE"), counter]


def test_frozen_parameters_by_policy() -> None:
    model = Tied()
    model.norm.bias.requires_grad_(False)
    model.register_parameter("quantized", torch.nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False))

    def found(frozen: Any, *trained: str) -> list[str]:
        policies = {named.name: named.policy for named in named_tensors(model, "ignore", frozen, trained=trained)}
        return [policies["embedding.weight"], policies["norm.bias"], policies["quantized"]]

    assert found("once") == ["AVERAGE", "COPY_ONCE", "COPY_ONCE"]
    assert found("average") == ["AVERAGE", "AVERAGE", "COPY"]
    assert found("copy") == ["AVERAGE", "COPY", "COPY"]
    assert found("once", "norm.bias") == ["AVERAGE", "AVERAGE", "COPY_ONCE"]


def test_wrappers_do_not_change_names() -> None:
    model = Tied()
    plain = [named.name for named in named_tensors(model, "copy")]
    for wrapped in (torch.nn.DataParallel(model), torch.compile(model)):
        assert [named.name for named in named_tensors(wrapped, "copy")] == plain


def shadow_of(tensors: dict[str, Any]) -> Shadow:
    header = wire.ShadowHeader(run="r", average="ema")
    for name, tensor in tensors.items():
        dtype = wire.DType.BF16 if tensor.dtype == torch.bfloat16 else wire.DType.F32
        header.tensors.append(wire.ShadowTensor(name, dtype, list(tensor.shape), header.total_bytes, True))
        header.total_bytes += -(-tensor.numel() * tensor.element_size() // 64) * 64
    shadow = Shadow(header)
    for spec, tensor in zip(shadow.specs, tensors.values(), strict=True):
        data = tensor.reshape(-1).view(torch.uint8).numpy()
        shadow.buffer[spec.offset : spec.offset + data.size] = data
    return shadow


def test_shadow_tensors_are_views_also_of_bf16() -> None:
    tensors = {"a": torch.randn(3, 5), "b": torch.randn(()), "c": torch.randn(4).bfloat16(), "d": torch.zeros(0, 2)}
    shadow = shadow_of(tensors)
    found = shadow_tensors(shadow)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert found["a"].data_ptr() == shadow.buffer.ctypes.data


def test_load_shadow_into_wrapped_and_tied_modules() -> None:
    model = Tied()
    values = {named.name: torch.randn_like(named.tensor) for named in named_tensors(model, "ignore")}
    load_shadow(shadow_of(values), torch.nn.DataParallel(model))
    for name, value in values.items():
        assert torch.equal(model.get_parameter(name), value)
    assert torch.equal(model.out.weight, values["embedding.weight"])
    assert model.get_parameter("norm.weight").requires_grad


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"norm.bias": None}, "'norm.bias' is not in the shadow"),
        ({"norm.bias": torch.zeros(4)}, r"'norm.bias' has shape \[3\], \[4\] in the shadow"),
        ({"extra": torch.zeros(4)}, "'extra' is not in the module"),
    ],
)
def test_load_shadow_mismatch_changes_nothing(change: dict[str, Any], problem: str) -> None:
    model = Tied()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    values = {named.name: torch.randn_like(named.tensor) for named in named_tensors(model, "ignore")} | change
    shadow = shadow_of({name: value for name, value in values.items() if value is not None})
    with pytest.raises(FailedPreconditionError, match=problem):
        load_shadow(shadow, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_load_shadow_not_strict_takes_what_fits() -> None:
    model = Tied()
    load_shadow(shadow_of({"norm.bias": torch.ones(3), "other": torch.ones(1)}), model, strict=False)
    assert np.array_equal(model.norm.bias.detach().numpy(), np.ones(3))
