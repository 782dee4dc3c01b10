"""Which tensors of a module take part, under which names: the same inside and outside of every wrapper."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from ..layout import PolicyName, name_matcher
from .flat_params import FlatParameters, FlatSlot
from .readable import problem_of, way_out
from .regions import Extents
from .slots import ModuleSlot
from .wrappers import Names, joined, renamer, walk

BuffersPolicy = Literal["copy", "average", "ignore"]
FrozenPolicy = Literal["once", "average", "copy"]
Slot = ModuleSlot | FlatSlot

_BUFFERS: dict[BuffersPolicy, PolicyName] = {"copy": "COPY", "average": "AVERAGE", "ignore": "IGNORE"}
_FROZEN: dict[FrozenPolicy, PolicyName] = {"once": "COPY_ONCE", "average": "AVERAGE", "copy": "COPY"}


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A tensor of a model, by the name of the first place where it stands; `ties` are the others."""

    name: str
    policy: PolicyName
    is_parameter: bool
    slot: Slot
    ties: tuple[Slot, ...] = ()

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer that stands there now; of one that FSDP1 has flattened this rank's elements."""
        return self.slot.tensor

    @property
    def shape(self) -> Extents:
        """Of the whole tensor as it travels, wherever its parts are; complex numbers are pairs of floats."""
        return self.slot.shape

    @property
    def names(self) -> list[str]:
        """All its names, the first one first."""
        return [self.name, *(tie.name for tie in self.ties)]

    def check_readable(self) -> None:
        """Raise TypeError, which names the tensor and says what to do, when its values cannot be read or written."""
        problem = problem_of(self.tensor)
        if problem is not None:
            raise TypeError(f"tensor {self.name!r} {problem}; else {way_out(self.name, self.is_parameter)}")


def named_tensors(
    model: nn.Module,
    buffers: BuffersPolicy,
    frozen: FrozenPolicy = "average",
    *,
    trained: Container[str] = (),
    policies: Mapping[str, PolicyName] | None = None,
    names: Names | None = None,
    any_pattern: bool = False,
) -> list[NamedTensor]:
    """Return the model's tensors in the order of its definition, tied ones once, parameters before buffers.

    Floating-point and complex parameters are averaged, the others copied. Those with `requires_grad=False` follow
    `frozen`, unless `trained` has their names. Persistent buffers follow `buffers`; integer ones are not averaged.
    `policies`, by name pattern, stand above all that; the last one that matches wins. Of tensors that are left out
    nothing is looked at but their names.

    Raises:
        ValueError: two tensors have the same name, or one of `policies` cannot be: it matches none, unless
            `any_pattern`, or what it matches cannot be treated so.
    """
    rules = _Rules(policies or {})
    found: dict[str, NamedTensor] = {}
    # The name under which a tensor was found, by the tensor itself and by its memory.
    taken: dict[object, str] = {}
    for slot, is_parameter in [*_parameters(model, names), *_buffers(model, names)]:
        tied = taken.get(slot.key)
        if tied is None:
            policy = rules.policy(slot)
            if policy is None:
                trains = is_parameter and (slot.requires_grad or slot.name in trained)
                policy = "AVERAGE" if trains else _FROZEN[frozen] if is_parameter else _BUFFERS[buffers]
            if policy == "IGNORE":
                taken[slot.key] = slot.name
                continue
            tied = taken.get(slot.identity)
            if tied is None:
                if slot.name in found:
                    raise ValueError(
                        f"two tensors of the model are called {slot.name!r} without the wrappers' parts, or by "
                        "`names`: tell them apart with names={...}"
                    )
                found[slot.name] = NamedTensor(slot.name, _possible(policy, slot.tensor), is_parameter, slot)
                taken[slot.identity] = taken[slot.key] = slot.name
                continue
        if tied in found and slot.name not in found[tied].names:
            found[tied] = replace(found[tied], ties=(*found[tied].ties, slot))
    if not any_pattern:
        rules.check_all_matched(found)
    return list(found.values())


class _Rules:
    """Policies by name pattern."""

    def __init__(self, policies: Mapping[str, PolicyName]) -> None:
        self._rows: list[tuple[str, re.Pattern[str], PolicyName]] = [
            (pattern, name_matcher(pattern), policy) for pattern, policy in policies.items()
        ]
        self._matched: set[str] = set()

    def policy(self, slot: Slot) -> PolicyName | None:
        """Return the policy that the last matching pattern gives a tensor; None: no pattern matches."""
        found: PolicyName | None = None
        for pattern, matcher, policy in self._rows:
            if matcher.fullmatch(slot.name):
                self._matched.add(pattern)
                found = policy
        if found == "AVERAGE" and not _is_averageable(slot.tensor):
            raise ValueError(f"policies: tensor {slot.name!r} of dtype {slot.tensor.dtype} cannot be averaged")
        if found == "COPY_ONCE" and slot.requires_grad:
            raise ValueError(f"policies: parameter {slot.name!r} is trained, it cannot be sent only once")
        return found

    def check_all_matched(self, found: Mapping[str, NamedTensor]) -> None:
        ties = {tie.name: named.name for named in found.values() for tie in named.ties}
        for pattern, matcher, _ in self._rows:
            if pattern in self._matched:
                continue
            tied = next((name for name in ties if matcher.fullmatch(name)), None)
            hint = "" if tied is None else f" but {tied!r}, which is tied to {ties[tied]!r} and goes by that name"
            raise ValueError(f"policies: pattern {pattern!r} matches no tensor of the model{hint}")


def _parameters(model: nn.Module, names: Names | None) -> Iterator[tuple[Slot, bool]]:
    flat = FlatParameters(model)
    rename = renamer(names)
    for prefix, _, module in walk(model):
        slots: dict[str, Slot] = {}
        for leaf, place in flat.of(module).items():
            slots[leaf] = FlatSlot(rename(joined(prefix, leaf)), place)
        for leaf, tensor in module._parameters.items():
            if tensor is not None and not flat.has(module, leaf, tensor):
                slots[leaf] = ModuleSlot(rename(joined(prefix, leaf)), module, "_parameters", leaf)
        yield from ((slot, True) for slot in slots.values())


def _buffers(model: nn.Module, names: Names | None) -> Iterator[tuple[Slot, bool]]:
    rename = renamer(names)
    for prefix, _, module in walk(model):
        for leaf, tensor in module._buffers.items():
            if tensor is not None and leaf not in module._non_persistent_buffers_set:
                yield ModuleSlot(rename(joined(prefix, leaf)), module, "_buffers", leaf), False


def _is_averageable(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _possible(policy: PolicyName, tensor: torch.Tensor) -> PolicyName:
    """Integers are copied where others are averaged."""
    return "COPY" if policy == "AVERAGE" and not _is_averageable(tensor) else policy
