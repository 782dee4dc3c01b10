"""A step on its way to the service, which can be sent from any byte on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import wire
from .chunks import ArraySource, PlannedChunk, chunks_from, fill_chunk
from .tail import SentMessage
from .update_stream import UpdateStream


class OutgoingStep(NamedTuple):
    """A step with all that is needed to send it."""

    commit: wire.Commit
    plan: Sequence[PlannedChunk]
    array_of: ArraySource

    def transmit(
        self, stream: UpdateStream, offset: int, checksum: wire.Checksum | None, *, has_lost_steps: bool, is_kept: bool
    ) -> None:
        """Send what the service does not have.

        Args:
            stream: takes it.
            offset: of the first byte that the service does not have.
            checksum: crc32c of chunks, or None to send none.
            has_lost_steps: whether the service is told that the steps before this one will not come.
            is_kept: whether the messages are kept, since the step's bytes are not at hand any more when it is sent.
        """
        step = self.commit.step

        def send(offset: int, message: bytes) -> None:
            if is_kept:
                stream.send_kept(SentMessage(step, offset, message))
            else:
                stream.send(message)

        if offset == 0 and step > 0 and has_lost_steps:
            # Steps only rise: what was not pushed before this one never will be.
            send(0, wire.UpdateRequest(lost=wire.Lost(step - 1)).encode())
        for chunk in chunks_from(self.plan, offset):
            parts = fill_chunk(chunk, self.array_of)
            send(chunk.offset, wire.chunk_message(step, chunk.offset, parts, chunk.size, checksum))
        stream.commit(self.commit)
