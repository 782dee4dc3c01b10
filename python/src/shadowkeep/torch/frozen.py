"""Watches the tensors that are sent once, so that the service never has old ones without anybody's knowing."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import torch

from ..boxes import Box
from ..client import Client
from ..shadow import Shadow
from .load import shadow_views
from .names import NamedTensor
from .placements import local_tensor
from .regions import Piece
from .share import Share

# What is read at a time to be compared, unless one piece is larger.
BATCH_BYTES = 256 << 20

_OwnPiece = tuple[NamedTensor, Piece]


class FrozenTensors:
    """A trainer's frozen tensors, which the run has since its first step and takes no more.

    Args:
        client: for reading them back.
        run: the run's name.
        average: one of its averages; copied tensors are the same in all.
        share: of the tensors of policy COPY_ONCE in it all are watched, and the pieces that this process sends read.
    """

    def __init__(self, client: Client, run: str, average: str, share: Share) -> None:
        self._client = client
        self._run = run
        self._average = average
        self._tensors = [named for named in share.pushed.tensors if named.policy == "COPY_ONCE"]
        owned = [(share.pushed.tensors[own.tensor], own.piece) for own in share.pieces]
        self._pieces = [(named, piece) for named, piece in owned if named.policy == "COPY_ONCE"]
        self._marks = [named.slot.mark for named in self._tensors]

    def check(self) -> None:
        """Look at each tensor, in about a microsecond; those that were written or replaced are verified.

        Writes that torch does not count are not seen: through `.data`, and into what FSDP1 has flattened.

        Raises:
            RuntimeError: a tensor is trained now, or differs from the service's; the message names it.
        """
        for named in self._tensors:
            if named.slot.requires_grad:
                raise RuntimeError(
                    f"parameter {named.name!r} was frozen when it was registered and is trained now, but the service "
                    'would keep it as it was: register the model unfrozen, or with frozen="average" or "copy"'
                )
        marks = [named.slot.mark for named in self._tensors]
        pairs = zip(self._tensors, marks, self._marks, strict=True)
        self.verify({named.name for named, mark, before in pairs if mark != before})
        self._marks = marks

    def verify(self, names: Container[str] | None = None) -> None:
        """Compare tensors (None: all) with the service's. Raises RuntimeError, which names the first that differs."""
        shadow: Shadow | None = None
        for batch in _batches([own for own in self._pieces if names is None or own[0].name in names]):
            boxes = [Box(named.name, piece.offset, piece.extent) for named, piece in batch]
            shadow = self._client.get_shadow(self._run, self._average, boxes=boxes, reuse=shadow)
            for (named, piece), theirs in zip(batch, shadow_views(shadow), strict=True):
                if not _same_bytes(piece.view(local_tensor(named.tensor)), theirs):
                    raise RuntimeError(
                        f"frozen tensor {named.name!r} is not what run {self._run!r} got with its first step and "
                        'keeps: open another run, or with frozen="average" or "copy" from the start'
                    )


def _batches(pieces: Sequence[_OwnPiece]) -> Iterator[list[_OwnPiece]]:
    batch: list[_OwnPiece] = []
    size = 0
    for named, piece in pieces:
        nbytes = torch.Size(piece.extent).numel() * named.tensor.element_size()
        if batch and size + nbytes > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((named, piece))
        size += nbytes
    if batch:
        yield batch


@torch.no_grad()
def _same_bytes(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Compare bit by bit: a NaN equals itself."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    flat = ours.detach().cpu().contiguous().reshape(-1)
    return torch.equal(flat.view(torch.uint8), theirs.reshape(-1).view(torch.uint8))
