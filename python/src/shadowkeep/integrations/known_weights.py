"""A model of whose weights it is known from where they are, and whether they still are those."""

from __future__ import annotations

import math
import weakref

import torch
from torch import nn

from ..client import Client
from ..torch.placements import local_tensor
from .evaluated import OWN_WEIGHTS, Evaluated, evaluated_at, evaluated_unplaced
from .places import Place


class KnownWeights:
    """A model of whose weights the place is known, as long as nothing else writes into them.

    Args:
        model: is not kept alive.
        place: None: the weights came from a checkpoint that does not say it.
    """

    def __init__(self, model: nn.Module, place: Place | None) -> None:
        self.place = place
        self._model = weakref.ref(model)
        self._marks = _marks(model)

    def are_of(self, model: nn.Module) -> bool:
        """Whether this is the model."""
        return self._model() is model

    def evaluated(self, client: Client, model: nn.Module) -> Evaluated:
        """Return what the model is evaluated with."""
        if _are_others(self._marks, _marks(model)):
            return Evaluated(None, f"the weights were changed since they were trained or restored: {OWN_WEIGHTS}")
        return evaluated_unplaced() if self.place is None else evaluated_at(client, self.place)


def _marks(model: nn.Module) -> list[tuple[tuple[int, ...], float]]:
    """Return shape and norm of each parameter, as far as it is in this process."""
    local = [local_tensor(parameter).detach() for parameter in model.parameters()]
    return [(tuple(tensor.shape), _norm(tensor)) for tensor in local]


def _norm(tensor: torch.Tensor) -> float:
    is_number = tensor.is_floating_point() or tensor.is_complex()
    # Integers and float8 have no norm in torch, tensors without memory have no values.
    if tensor.is_meta or not is_number or tensor.itemsize < 2:
        return 0.0
    dtype = torch.complex128 if tensor.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(tensor, dtype=dtype))


def _are_others(before: list[tuple[tuple[int, ...], float]], now: list[tuple[tuple[int, ...], float]]) -> bool:
    """Of a model that is cut otherwise now nothing is known; the order of a sum depends on the device."""
    if [shape for shape, _ in before] != [shape for shape, _ in now]:
        return False
    return any(
        not (math.isclose(old, new, rel_tol=1e-9) or (math.isnan(old) and math.isnan(new)))
        for (_, old), (_, new) in zip(before, now, strict=True)
    )
