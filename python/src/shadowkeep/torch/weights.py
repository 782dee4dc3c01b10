"""The tensors of a step: the model's own, or what the trainer gives in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from ..layout import PolicyName, TensorSpec
from .dtypes import tensor_spec
from .flat_params import FlatSlot
from .names import BuffersPolicy, FrozenPolicy, NamedTensor, canonical_name, named_tensors
from .slots import ModuleSlot

# By parameter name, wrapped or canonical. A callable is asked at each update.
Weights = Mapping[str, torch.Tensor] | Callable[[], Mapping[str, torch.Tensor]]


class PushedTensors:
    """What a trainer pushes.

    Args:
        model: its tensors are pushed where `weights` gives no other.
        buffers: as in `EMA`.
        frozen: as in `EMA`; a parameter that `weights` gives is trained, whatever its flag says.
        weights: tensors that stand for the model's of the same name and (global) shape; sharded ones are DTensors.
        policies: as in `EMA`.

    Attributes:
        tensors: the model's tensors, in the order of its definition.

    Raises:
        ValueError: `weights` gives a tensor that the model does not have in this shape, or nothing is averaged.
    """

    def __init__(
        self,
        model: nn.Module,
        buffers: BuffersPolicy,
        frozen: FrozenPolicy,
        weights: Weights | None = None,
        policies: Mapping[str, PolicyName] | None = None,
    ) -> None:
        self._weights = weights
        given = self._given()
        self._given_names = frozenset(given)
        self._slots = {name: ModuleSlot(name, given, name) for name in given}
        self.tensors = named_tensors(model, buffers, frozen, trained=self._given_names, policies=policies)
        _check_given(given, self.tensors)
        if not any(named.policy == "AVERAGE" for named in self.tensors):
            raise ValueError("nothing would be averaged: the model has no trainable floating-point parameters")

    def slot(self, named: NamedTensor) -> ModuleSlot | FlatSlot:
        """Return where what is pushed for a tensor lies."""
        return self._slots.get(named.name, named.slot)

    def specs(self) -> dict[str, TensorSpec]:
        """Return the layout of a run. Raises TypeError, which names the tensor, for a dtype that cannot travel."""
        live = self.live(self.tensors)
        return {named.name: tensor_spec(named, tensor) for named, tensor in zip(self.tensors, live, strict=True)}

    def live(self, tensors: Sequence[NamedTensor]) -> list[torch.Tensor]:
        """Return what is pushed for these, as it is now. Raises RuntimeError when `weights` gives one no more."""
        if not self._given_names:
            return [named.tensor for named in tensors]
        given = self._given()
        return [self._one(named, given) for named in tensors]

    def _one(self, named: NamedTensor, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if named.name not in self._given_names:
            return named.tensor
        if named.name not in given:
            raise RuntimeError(f"`weights` gave tensor {named.name!r} when it was registered, and does not any more")
        return given[named.name]

    def _given(self) -> dict[str, torch.Tensor]:
        weights = self._weights() if callable(self._weights) else self._weights
        return {canonical_name(name): tensor for name, tensor in (weights or {}).items()}


def _check_given(given: Mapping[str, torch.Tensor], tensors: Sequence[NamedTensor]) -> None:
    shapes = {named.name: named.shape for named in tensors}
    for name, tensor in given.items():
        if name not in shapes:
            raise ValueError(f"`weights` gives tensor {name!r}, which the model does not have, or only as a tied one")
        if tensor.shape != shapes[name]:
            raise ValueError(
                f"`weights` gives tensor {name!r} of shape {list(tensor.shape)}, {list(shapes[name])} in the model"
            )
