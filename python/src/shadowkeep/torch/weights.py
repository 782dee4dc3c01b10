"""The tensors of a step: the model's own, or what the trainer gives in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from ..layout import PolicyName, TensorSpec
from .dtypes import tensor_spec
from .names import BuffersPolicy, FrozenPolicy, NamedTensor, Slot, named_tensors
from .placements import travel_shape
from .slots import ModuleSlot
from .structure import Structure
from .wrappers import Names, canonical_names

# By parameter name, the model's or the run's. A callable is asked at each update.
Weights = Mapping[str, torch.Tensor] | Callable[[], Mapping[str, torch.Tensor]]

# How many names an error lists.
NAMES_SHOWN = 5


class PushedTensors:
    """What a trainer pushes.

    Args:
        model: its tensors are pushed where `weights` gives no other.
        buffers: as in `EMA`.
        frozen: as in `EMA`; a parameter that `weights` gives is trained, whatever its flag says.
        weights: tensors that stand for the model's of the same name and (global) shape; sharded ones are DTensors.
        policies: as in `EMA`.
        names: as in `EMA`.

    Attributes:
        tensors: the model's tensors, in the order of its definition. Names, order and policies stay as they are.

    Raises:
        ValueError: `weights` gives a tensor that the model does not have in this shape, or nothing is averaged.
        TypeError: a tensor has no values that can be read, as a sparse one; the message names it and the way out.
    """

    def __init__(
        self,
        model: nn.Module,
        buffers: BuffersPolicy,
        frozen: FrozenPolicy,
        weights: Weights | None = None,
        policies: Mapping[str, PolicyName] | None = None,
        names: Names | None = None,
    ) -> None:
        self._model = model
        self._buffers = buffers
        self._frozen = frozen
        self._policies = policies
        self._names = names
        self._weights = weights
        self._run_names = canonical_names(model, names)
        given = self._given()
        self._given_slots = {name: ModuleSlot(name, _Given(given), "_parameters", name) for name in given}
        self._structure = Structure(model)
        self.tensors = self._listed()
        _check_given(given, self.tensors)
        if not any(named.policy == "AVERAGE" for named in self.tensors):
            raise ValueError("nothing would be averaged: the model has no trainable floating-point parameters")
        self._keep()

    def specs(self) -> dict[str, TensorSpec]:
        """Return the layout of a run. Raises TypeError, which names the tensor, for a dtype that cannot travel."""
        live = self.live(range(len(self.tensors)))
        return {named.name: tensor_spec(named, tensor) for named, tensor in zip(self.tensors, live, strict=True)}

    def slot(self, index: int) -> Slot:
        """Return where what is pushed for a tensor lies."""
        named = self.tensors[index]
        return self._given_slots.get(named.name, named.slot)

    def own(self, index: int) -> torch.Tensor:
        """Return one of the model's own tensors, as it was found by the last `follow`."""
        kept = self._objects[index]
        return self.tensors[index].tensor if kept is None else kept

    def live(self, indices: Sequence[int]) -> list[torch.Tensor]:
        """Return what is pushed for these tensors: the model's own are those that stood there at the last `follow`.

        Raises:
            RuntimeError: `weights` gives one no more.
        """
        objects = self._objects
        own = [kept if (kept := objects[index]) is not None else self.tensors[index].tensor for index in indices]
        if not self._given_slots:
            return own
        given = self._given()
        return [self._one(index, tensor, given) for index, tensor in zip(indices, own, strict=True)]

    def follow(self) -> None:
        """Look whether the model still has the tensors that it had. What stands under their names now is taken.

        Raises:
            RuntimeError: it has others, which the message names.
        """
        if self._structure.is_same() and all(tie.identity == slot.identity for slot, tie in self._memory_ties):
            return
        found = self._listed(any_pattern=True)
        slots = {slot.name: slot for named in found for slot in (named.slot, *named.ties)}
        ties = {named.name: named.ties for named in found}
        registered = {named.name for named in self.tensors}
        new = [name for name in ties if name not in registered]
        gone = [named.name for named in self.tensors if named.name not in slots]
        if new or gone:
            raise RuntimeError(_changed(new, gone, self.tensors))
        self.tensors = [replace(named, slot=slots[named.name], ties=ties.get(named.name, ())) for named in self.tensors]
        self._structure.look()
        self._keep()

    def _listed(self, any_pattern: bool = False) -> list[NamedTensor]:
        tensors = named_tensors(
            self._model,
            self._buffers,
            self._frozen,
            trained=self._given_slots,
            policies=self._policies,
            names=self._names,
            any_pattern=any_pattern,
        )
        for named in tensors:
            named.check_readable()
        return tensors

    def _keep(self) -> None:
        """Keep the tensors, so that a step need not look for them; what FSDP1 has flattened is another at each step."""
        slots = [named.slot for named in self.tensors]
        self._objects = [slot.current if isinstance(slot, ModuleSlot) else None for slot in slots]
        # Tied by their memory only, which `.data = ...` unties without another change.
        self._memory_ties = [
            (named.slot, tie) for named in self.tensors for tie in named.ties if tie.key != named.slot.key
        ]

    def _one(self, index: int, own: torch.Tensor, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        name = self.tensors[index].name
        if name not in self._given_slots:
            return own
        if name not in given:
            raise RuntimeError(f"`weights` gave tensor {name!r} when it was registered, and does not any more")
        return given[name]

    def _given(self) -> dict[str, torch.Tensor]:
        weights = self._weights() if callable(self._weights) else self._weights
        return {self._run_names.get(name, name): tensor for name, tensor in (weights or {}).items()}


class _Given:
    """What `weights` has given, as if it were a module's own."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._parameters = tensors


def _changed(new: Sequence[str], gone: Sequence[str], registered: Sequence[NamedTensor]) -> str:
    ties = {tie.name: named.name for named in registered for tie in named.ties}
    untied = [f"{name!r}, which was tied to {ties[name]!r}" for name in new if name in ties]
    parts = [f"it has {_shown([*untied, *(repr(name) for name in new if name not in ties)])} now"] if new else []
    parts += [f"{_shown([repr(name) for name in gone])} gone"] if gone else []
    return (
        f"the model's tensors are not those that were registered: {', and '.join(parts)}. A run's tensors do not "
        "change: register() after the last change of the model, and a changed model as another run"
    )


def _shown(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _check_given(given: Mapping[str, torch.Tensor], tensors: Sequence[NamedTensor]) -> None:
    shapes = {named.name: named.shape for named in tensors}
    for name, tensor in given.items():
        if name not in shapes:
            raise ValueError(f"`weights` gives tensor {name!r}, which the model does not have, or only as a tied one")
        if travel_shape(tensor) != shapes[name]:
            raise ValueError(
                f"`weights` gives tensor {name!r} of shape {list(tensor.shape)}, {list(shapes[name])} in the model"
            )
