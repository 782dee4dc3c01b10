"""Watches the tensors that are sent once, so that the service never has old ones without anybody's knowing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import torch

from ..boxes import Box
from ..client import Client
from ..shadow import Shadow
from .ambient import plain_torch
from .digests import Digests
from .load import same_bytes, shadow_views
from .placements import memory
from .readable import problem_of
from .share import OwnPiece, Share

# What is read at a time to be compared, unless one piece is larger.
BATCH_BYTES = 256 << 20


class FrozenTensors:
    """A trainer's frozen tensors, which the run has since its first step and takes no more.

    torch counts writes, but not those through `.data`, which is how teachers are moved, nor those into what FSDP1 has
    flattened. So their bytes are digested once the service has them, and again a part after each step, in the sender's
    thread, and all of them at the end.

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
        self._pushed = share.pushed
        self._indices = [index for index, named in enumerate(self._pushed.tensors) if named.policy == "COPY_ONCE"]
        watched = set(self._indices)
        self._pieces = [own for own in share.pieces if own.tensor in watched]
        self._marks: list[object] = []
        self._digests: Digests | None = None
        self._lock = threading.Lock()
        # What the sender's thread is to look at, and the pieces that it has found changed.
        self._due: list[tuple[int, torch.Tensor]] = []
        self._suspects: set[int] = set()

    def begin(self) -> None:
        """Take the tensors as they are, once the service has them."""
        self._marks = self._marks_now()
        with plain_torch():
            self._digests = Digests([self._view(piece) for piece in range(len(self._pieces))])

    def check(self) -> None:
        """Look at each tensor, in about a microsecond; those that were written or replaced are compared.

        Raises:
            RuntimeError: a tensor is trained now, or is not what the service has; the message names it.
        """
        if not self._indices:
            return
        for index in self._indices:
            slot = self._pushed.tensors[index].slot
            if slot.requires_grad:
                raise RuntimeError(
                    f"parameter {slot.name!r} was frozen when it was registered and is trained now, but the service "
                    'would keep it as it was: register the model unfrozen, or with frozen="average" or "copy"'
                )
        marks = self._marks_now()
        written = {index for index, *pair in zip(self._indices, marks, self._marks, strict=True) if pair[0] != pair[1]}
        pieces = {number for number, own in enumerate(self._pieces) if own.tensor in written}
        with self._lock:
            pieces |= self._suspects
        with plain_torch():
            self._compare(sorted(pieces))
            self._marks = marks
            assert self._digests is not None
            due = [(number, self._view(self._digests.piece_of(number))) for number in self._digests.due()]
        with self._lock:
            self._due = due

    def look(self) -> None:
        """Compare the bytes whose turn it is, in the sender's thread; what differs is looked at again by `check`.

        It may have been changed for an evaluation only.
        """
        with self._lock:
            due, self._due = self._due, []
        for number, view in due:
            assert self._digests is not None
            if self._digests.differs(number, view):
                with self._lock:
                    self._suspects.add(self._digests.piece_of(number))

    def check_all(self) -> None:
        """Compare all bytes; the sender must be idle. Raises RuntimeError, which names a tensor that differs."""
        if self._digests is not None:
            with plain_torch():
                self._compare(range(len(self._pieces)))

    def verify(self) -> None:
        """Compare with the service's, of a run that has them. Raises RuntimeError, which names one that differs."""
        shadow: Shadow | None = None
        for batch in self._batches():
            owned = [self._pieces[number] for number in batch]
            boxes = [Box(self._name(own), own.piece.offset, own.piece.extent) for own in owned]
            shadow = self._client.get_shadow(self._run, self._average, boxes=boxes, reuse=shadow)
            with plain_torch():
                for number, theirs in zip(batch, shadow_views(shadow), strict=True):
                    if not same_bytes(self._view(number), theirs):
                        raise self._other(number)

    def _compare(self, pieces: Sequence[int]) -> None:
        """Compare pieces with what they were."""
        digests = self._digests
        if digests is None or not pieces:
            return
        digests.wait_for_training()
        for piece in pieces:
            view = self._view(piece)
            if any(digests.differs(number, view) for number in digests.of_piece(piece)):
                raise self._other(piece)
            with self._lock:
                self._suspects.discard(piece)

    def _other(self, piece: int) -> RuntimeError:
        return RuntimeError(
            f"frozen tensor {self._name(self._pieces[piece])!r} is not what run {self._run!r} got with its first step "
            'and keeps: open another run, or with frozen="average" or "copy" from the start, which send it with each'
        )

    def _name(self, own: OwnPiece) -> str:
        return self._pushed.tensors[own.tensor].name

    def _view(self, piece: int) -> torch.Tensor:
        own = self._pieces[piece]
        tensor = self._pushed.own(own.tensor)
        if problem_of(tensor) is not None:
            raise self._other(piece)
        return own.piece.view(memory(tensor))

    def _marks_now(self) -> list[object]:
        return [self._pushed.tensors[index].slot.mark for index in self._indices]

    def _batches(self) -> Iterator[list[int]]:
        batch: list[int] = []
        size = 0
        for number in range(len(self._pieces)):
            view = self._view(number)
            nbytes = view.numel() * view.element_size()
            if batch and size + nbytes > BATCH_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(number)
            size += nbytes
        if batch:
            yield batch
