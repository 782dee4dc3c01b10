"""Which tensors of a module take part, under which names: the same inside and outside of every wrapper."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from ..layout import PolicyName, name_matcher
from .flat_params import FlatParameters, FlatSlot
from .regions import Extents
from .slots import ModuleSlot

BuffersPolicy = Literal["copy", "average", "ignore"]
FrozenPolicy = Literal["once", "average", "copy"]

_BUFFERS: dict[BuffersPolicy, PolicyName] = {"copy": "COPY", "average": "AVERAGE", "ignore": "IGNORE"}
_FROZEN: dict[FrozenPolicy, PolicyName] = {"once": "COPY_ONCE", "average": "AVERAGE", "copy": "COPY"}

# What torch.compile, FSDP and activation checkpointing put in front of a submodule's names, anywhere in a name.
WRAPPER_PARTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# What DistributedDataParallel and DataParallel put in front of the whole model's names.
PARALLEL_PART = "module"


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A tensor of a model, by its canonical name."""

    name: str
    policy: PolicyName
    is_parameter: bool
    slot: ModuleSlot | FlatSlot

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer that stands there now; of one that FSDP1 has flattened this rank's elements."""
        return self.slot.tensor

    @property
    def shape(self) -> Extents:
        """Of the whole tensor, wherever its parts are."""
        return self.slot.shape


def canonical_name(name: str) -> str:
    """Return the name without the parts that wrappers add."""
    parts = [part for part in name.split(".") if part not in WRAPPER_PARTS]
    while len(parts) > 1 and parts[0] == PARALLEL_PART:
        parts = parts[1:]
    return ".".join(parts)


def named_tensors(
    model: nn.Module,
    buffers: BuffersPolicy,
    frozen: FrozenPolicy = "average",
    *,
    trained: Container[str] = (),
    policies: Mapping[str, PolicyName] | None = None,
) -> list[NamedTensor]:
    """Return the model's tensors in the order of its definition, tied ones once, under canonical names.

    Floating-point parameters are averaged, the others copied. Those with `requires_grad=False` follow `frozen`, unless
    `trained` has their names. Persistent buffers follow `buffers`; integer ones are not averaged. `policies`, by name
    pattern, stand above all that; the last one that matches wins.

    Raises:
        ValueError: two tensors have the same canonical name, or one of `policies` cannot be.
    """
    found: dict[str, NamedTensor] = {}
    seen: set[object] = set()
    for named in [*_parameters(model, frozen, trained), *_buffers(model, buffers)]:
        identity = named.slot.identity
        if identity in seen:
            continue
        seen.add(identity)
        if named.name in found:
            raise ValueError(f"two tensors of the model are called {named.name!r} without the wrappers' parts")
        found[named.name] = named
    for pattern, policy in (policies or {}).items():
        _rule(found, pattern, policy)
    return [named for named in found.values() if named.policy != "IGNORE"]


def _rule(found: dict[str, NamedTensor], pattern: str, policy: PolicyName) -> None:
    matcher = name_matcher(pattern)
    matched = [named for named in found.values() if matcher.fullmatch(named.name)]
    if not matched:
        raise ValueError(f"policies: pattern {pattern!r} matches no tensor of the model")
    for named in matched:
        if policy == "AVERAGE" and not named.tensor.is_floating_point():
            raise ValueError(f"policies: tensor {named.name!r} of dtype {named.tensor.dtype} cannot be averaged")
        if policy == "COPY_ONCE" and named.slot.requires_grad:
            raise ValueError(f"policies: parameter {named.name!r} is trained, it cannot be sent only once")
        found[named.name] = replace(named, policy=policy)


def _parameters(model: nn.Module, frozen: FrozenPolicy, trained: Container[str]) -> Iterator[NamedTensor]:
    flat = FlatParameters(model)
    for prefix, module in model.named_modules():
        slots: dict[str, ModuleSlot | FlatSlot] = {}
        for leaf, place in flat.of(module).items():
            slots[leaf] = FlatSlot(_name(prefix, leaf), place)
        for leaf, tensor in module._parameters.items():
            if tensor is not None and not flat.has(module, leaf, tensor):
                slots[leaf] = ModuleSlot(_name(prefix, leaf), module._parameters, leaf)
        for slot in slots.values():
            policy: PolicyName = "AVERAGE" if slot.requires_grad or slot.name in trained else _FROZEN[frozen]
            yield NamedTensor(slot.name, _possible(policy, slot.tensor), True, slot)


def _buffers(model: nn.Module, buffers: BuffersPolicy) -> Iterator[NamedTensor]:
    policy = _BUFFERS[buffers]
    for prefix, module in model.named_modules():
        for leaf, tensor in module._buffers.items():
            if tensor is not None and leaf not in module._non_persistent_buffers_set:
                slot = ModuleSlot(_name(prefix, leaf), module._buffers, leaf)
                yield NamedTensor(slot.name, _possible(policy, tensor), False, slot)


def _name(prefix: str, leaf: str) -> str:
    return canonical_name(f"{prefix}.{leaf}" if prefix else leaf)


def _possible(policy: PolicyName, tensor: torch.Tensor) -> PolicyName:
    """Integers are copied where others are averaged."""
    return "COPY" if policy == "AVERAGE" and not tensor.is_floating_point() else policy
