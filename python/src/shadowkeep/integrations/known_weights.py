"""A model of whose weights it is known from where they are, and whether they still are those."""

from __future__ import annotations

import math
import weakref
import zlib
from itertools import groupby
from typing import NamedTuple

import torch
from torch import nn

from ..client import Client
from ..torch import EMAKeywords
from ..torch.placements import local_tensor
from ..torch.readable import problem_of
from .evaluated import OWN_WEIGHTS, Evaluated, evaluated_at, evaluated_unplaced
from .places import Place

# Of each tensor, evenly spread: a thousand tensors are a megabyte, and a few milliseconds.
SAMPLED_ELEMENTS_MAX = 256


class KnownWeights:
    """A model of whose weights the place is known, as long as nothing else writes into them.

    Args:
        model: is not kept alive.
        place: None: the weights came from a checkpoint that does not say it.
        options: those of the average, which say whether it has buffers.
    """

    def __init__(self, model: nn.Module, place: Place | None, options: EMAKeywords) -> None:
        self.place = place
        self._model = weakref.ref(model)
        self._options = options
        self._marks = self._marks_of(model)

    def are_of(self, model: nn.Module) -> bool:
        """Whether this is the model."""
        return self._model() is model

    def evaluated(self, client: Client, model: nn.Module) -> Evaluated:
        """Return what the model is evaluated with."""
        if self._marks.are_others(self._marks_of(model)):
            return Evaluated(None, f"the weights were changed since they were trained or restored: {OWN_WEIGHTS}")
        return evaluated_unplaced() if self.place is None else evaluated_at(client, self.place)

    def _marks_of(self, model: nn.Module) -> _Marks:
        tensors: list[torch.Tensor] = list(model.parameters())
        if self._options.get("buffers") != "ignore":
            tensors += _persistent_buffers(model)
        local = [local_tensor(tensor).detach() for tensor in tensors]
        local = [tensor for tensor in local if problem_of(tensor) is None]
        return _Marks([tuple(part.shape) for part in local], [_norm(part) for part in local], _sample_crc(local))


class _Marks(NamedTuple):
    """Of what is in this process of a model's tensors: norms, which each element changes, and a sample's bytes.

    The sample tells by signs and places what the norms do not.
    """

    shapes: list[tuple[int, ...]]
    norms: list[float]
    sample_crc: int

    def are_others(self, now: _Marks) -> bool:
        """Of a model that is cut otherwise now nothing is known; the order of a sum depends on the device."""
        if self.shapes != now.shapes:
            return False
        if self.sample_crc != now.sample_crc:
            return True
        return any(
            not (math.isclose(old, new, rel_tol=1e-9) or (math.isnan(old) and math.isnan(new)))
            for old, new in zip(self.norms, now.norms, strict=True)
        )


def _persistent_buffers(model: nn.Module) -> list[torch.Tensor]:
    return [
        buffer
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and name not in module._non_persistent_buffers_set
    ]


def _norm(tensor: torch.Tensor) -> float:
    is_number = tensor.is_floating_point() or tensor.is_complex()
    # Integers and float8 have no norm in torch.
    if not is_number or tensor.itemsize < 2:
        return 0.0
    dtype = torch.complex128 if tensor.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(tensor, dtype=dtype))


def _sample_crc(tensors: list[torch.Tensor]) -> int:
    """Return a checksum of some elements of each tensor; they come from a device together."""
    crc = 0
    for _, group in groupby(tensors, lambda tensor: tensor.device):
        samples = [_sample(tensor) for tensor in group if tensor.numel() > 0]
        if samples:
            crc = zlib.crc32(torch.cat(samples).cpu().numpy().tobytes(), crc)
    return crc


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    """Return bytes of elements at places that only the shape decides, whatever the strides."""
    count = min(tensor.numel(), SAMPLED_ELEMENTS_MAX)
    numbers = torch.linspace(0, tensor.numel() - 1, count, dtype=torch.float64, device=tensor.device).long()
    # Not every dtype of one byte can be indexed.
    plain = tensor.view(torch.uint8) if tensor.itemsize == 1 else tensor
    chosen = plain.reshape(1)[numbers] if tensor.ndim == 0 else plain[torch.unravel_index(numbers, tensor.shape)]
    return chosen.resolve_neg().contiguous().view(torch.uint8)
