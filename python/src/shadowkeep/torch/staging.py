"""From a device to the host in few, large copies.

A copy per tensor would cost a launch each, and one that changes the dtype on its way to the host is not asynchronous
at all. So tensors are gathered, in the wire dtype, in a small buffer on the device that has the layout of the
step's bytes, and that buffer is copied in one piece:

    device   tensors ──gather, cast──▶ staging (one batch)
    host     step's bytes  [ batch 0 ][ batch 1 ][ … ]  ◀──one copy a batch
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..boxes import PlacedBox
from .dtypes import torch_dtype

# Long enough for the bus's full speed, short against any model. A larger tensor is a batch by itself.
BATCH_BYTES = 64 << 20


@dataclass(slots=True)
class _Batch:
    """Bytes `start` to `stop` of the step, which are the tensors `first` to `last` of the layout, without the last."""

    start: int
    stop: int
    first: int
    last: int


class StagedCopy:
    """Copies tensors of one device into the bytes of a step on the host.

    Args:
        places: where they lie, one behind the other from the first byte on.
        host: the step's bytes (uint8); pinned, for the copies to be asynchronous.
        device: where the tensors are.
        batch_bytes: memory used on the device, unless one tensor is larger.
    """

    def __init__(
        self, places: Sequence[PlacedBox], host: torch.Tensor, device: torch.device, batch_bytes: int = BATCH_BYTES
    ) -> None:
        self._host = host
        self._batches = _batches(places, batch_bytes)
        longest = max((batch.stop - batch.start for batch in self._batches), default=0)
        self._staging = torch.zeros(longest, dtype=torch.uint8, device=device)
        self._views = [
            [place_view(self._staging, place, batch.start) for place in places[batch.first : batch.last]]
            for batch in self._batches
        ]

    def copy(self, sources: Sequence[torch.Tensor]) -> None:
        """Launch the copies on the current stream; the staging memory belongs to that stream."""
        for batch, views in zip(self._batches, self._views, strict=True):
            staging = self._staging[: batch.stop - batch.start]
            # The gaps between tensors are zero, whatever the batch before has left there.
            staging.zero_()
            torch._foreach_copy_(views, list(sources[batch.first : batch.last]))
            self._host[batch.start : batch.stop].copy_(staging, non_blocking=True)


def place_view(space: torch.Tensor, place: PlacedBox, start: int = 0) -> torch.Tensor:
    """Return the part of a step's bytes where a tensor lies, as that tensor; `space` begins at byte `start`."""
    begin = place.offset - start
    return space[begin : begin + place.size_bytes].view(torch_dtype(place.wire_dtype)).view(place.shape)


def _batches(places: Sequence[PlacedBox], batch_bytes: int) -> list[_Batch]:
    batches: list[_Batch] = []
    for index, place in enumerate(places):
        stop = place.offset + place.size_bytes + place.gap_bytes
        if not batches or stop - batches[-1].start > batch_bytes:
            batches.append(_Batch(place.offset, stop, index, index))
        batches[-1].stop, batches[-1].last = stop, index + 1
    return batches
