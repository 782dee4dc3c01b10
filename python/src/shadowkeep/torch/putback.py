"""Puts raw weights back into a model that may have got other tensors, dtypes, devices or modules in the meantime."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import nn

from .load import Fill, copies_into, copy_all
from .names import NamedTensor, named_tensors
from .placements import as_dtensor, travel_shape
from .readable import problem_of
from .slots import ModuleSlot
from .structure import Structure
from .wrappers import Names, walk

# How many names a warning lists of a kind.
NAMES_SHOWN = 5


class Kept(NamedTuple):
    """Raw values of a tensor, and what stood in its places when they were taken."""

    raw: Fill
    dtype: torch.dtype
    shape: tuple[int, ...]
    places: list[tuple[ModuleSlot, torch.Tensor]]

    @classmethod
    def of(cls, named: NamedTensor, raw: Fill) -> Kept:
        """Keep these values of a tensor as it stands in its module, or modules."""
        slots = [slot for slot in (named.slot, *named.ties) if isinstance(slot, ModuleSlot)]
        return cls(raw, named.tensor.dtype, named.shape, [(slot, slot.tensor) for slot in slots])

    def write(self, tensor: torch.Tensor) -> bool:
        """Write the values into a tensor that they were taken from; returns whether it had to get new memory for them.

        That is so where the memory that it has got since is of another shape, holds less, or nothing (meta).
        """
        if as_dtensor(tensor) is not None or self._fits(tensor):
            copy_all(copies_into(tensor, self.raw))
            return False
        # Of a tensor that is no DTensor all is here, as one piece.
        ((_, value),) = self.raw.values
        value = value.to(value.device if tensor.device.type == "meta" else tensor.device, copy=True)
        tensor.data = torch.view_as_complex(value) if self.dtype.is_complex else value
        return True

    def _fits(self, tensor: torch.Tensor) -> bool:
        if problem_of(tensor) is not None or travel_shape(tensor) != self.shape:
            return False
        return torch.promote_types(self.dtype, tensor.dtype) == tensor.dtype


class Before:
    """A model's tensors when its raw weights were taken.

    Args:
        model: the model.
        names: as in `EMA`.
    """

    def __init__(self, model: nn.Module, names: Names | None) -> None:
        self._model = model
        self._names = names
        self._structure = Structure(model)
        self._known = set(self._by_name())

    def put_back(self, kept: Collection[Kept]) -> str | None:
        """Write the raw values into the tensors that they were taken from, in the places where these stood.

        What else stands there now leaves. Where a module is gone, the tensor of that name and shape gets the values.

        Returns:
            What has no place any more, and what came new; None: there is nothing to say.
        """
        notes: dict[str, list[str]] = {}
        if not self._structure.is_same():
            self._settle(kept, notes)
        for each in kept:
            named = each.raw.named
            if not each.places:
                copy_all(copies_into(named.tensor, each.raw))
            for tensor in {id(original): original for _, original in each.places}.values():
                if each.write(tensor):
                    notes.setdefault("were converted, and have their raw dtype and shape again", []).append(named.name)
        text = "; ".join(f"{_shown(names)} {what}" for what, names in notes.items())
        return f"the model changed while a shadow was applied: {text}" if text else None

    def _settle(self, kept: Collection[Kept], notes: dict[str, list[str]]) -> None:
        """Put the tensors back into their places."""
        places = _Places(self._model)
        lost = [(each, slot) for each in kept for slot in places.settle(each.places)]
        found = self._by_name()
        for each, slot in lost:
            other = found.get(slot.name)
            if other is not None and problem_of(other) is None and travel_shape(other) == each.shape:
                copy_all(copies_into(other, each.raw))
                notes.setdefault("are in other modules now, and have the raw weights there", []).append(slot.name)
            else:
                notes.setdefault("have no place for their raw weights any more", []).append(slot.name)
        new = [name for name in found if name not in self._known]
        if new:
            notes["are new, and left as they are"] = new

    def _by_name(self) -> dict[str, torch.Tensor]:
        tensors = named_tensors(self._model, "copy", names=self._names)
        return {slot.name: slot.tensor for named in tensors for slot in (named.slot, *named.ties)}


class _Places:
    """Where tensors stand in a model."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = {id(module) for _, _, module in walk(model)}
        self._of: dict[int, set[tuple[int, str]]] = {}
        for _, _, module in walk(model):
            for leaf, tensor in (*module._parameters.items(), *module._buffers.items()):
                self._of.setdefault(id(tensor), set()).add((id(module), leaf))

    def settle(self, places: Sequence[tuple[ModuleSlot, torch.Tensor]]) -> list[ModuleSlot]:
        """Put a tensor back into its places, and return those that are gone.

        It may stand in another one now, as parametrizations and pruning move it: then it stays there. Where another
        tensor has its place, on another device, the model was moved, and it follows.
        """
        own = {(id(slot.module), slot.leaf) for slot, _ in places}
        return [slot for slot, tensor in places if not self._settle(slot, tensor, own)]

    def _settle(self, slot: ModuleSlot, tensor: torch.Tensor, own: set[tuple[int, str]]) -> bool:
        if id(slot.module) not in self._modules:
            return False
        current = slot.current
        if current is tensor or not self._of.get(id(tensor), own) <= own:
            return True
        if slot.leaf not in slot.owner and hasattr(slot.module, slot.leaf):
            return False
        slot.owner[slot.leaf] = tensor
        if current is not None and current.device != tensor.device and problem_of(current) is None:
            tensor.data = tensor.data.to(current.device)
        return True


def _shown(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(map(repr, names[:NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")
