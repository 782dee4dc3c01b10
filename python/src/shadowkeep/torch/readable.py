"""Which tensors have values that can be read and written here, and what to do about the others."""

from __future__ import annotations

import torch
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .placements import as_dtensor

# By far the most frequent classes: nothing of them needs to be looked at but layout and device.
PLAIN = (torch.Tensor, torch.nn.Parameter)


def problem_of(tensor: torch.Tensor) -> str | None:
    """Return why a tensor's values cannot be read here, in words that follow its name; None: they can."""
    if is_lazy(tensor):
        return "has no shape yet: run the model once before register()"
    if tensor.device.type == "meta":
        return "has no values, it is on the meta device: materialise the model before register()"
    if tensor.is_nested:
        return "is a nested tensor"
    if tensor.layout != torch.strided:
        return f"has layout {tensor.layout}"
    if tensor.is_quantized:
        return f"is quantized ({tensor.dtype})"
    if tensor.is_conj():
        return "is a conjugated view: materialise it with resolve_conj()"
    if type(tensor) not in PLAIN and as_dtensor(tensor) is None and _hides_values(tensor):
        return f"is of class {type(tensor).__name__}, whose values lie elsewhere"
    return None


def way_out(name: str, is_parameter: bool) -> str:
    """Return how a tensor is left out."""
    other = "" if is_parameter else ', or all buffers with buffers="ignore"'
    return f'leave it out with policies={{"{name}": "IGNORE"}}{other}'


def _hides_values(tensor: torch.Tensor) -> bool:
    return is_traceable_wrapper_subclass(tensor) or type(tensor).__name__ in ("FakeTensor", "FunctionalTensor")
