"""The newest messages of steps that are not acknowledged, kept in case the connection breaks.

sent ... | ......................... | newest        what has arrived at the service ends somewhere in the tail:
         |<-- TAIL_BYTES at most --->|               the rest of it is sent again, and nothing is lost
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from . import wire

# What can be on its way: the stream's queue and the service's (16 MiB each), both transports' windows and buffers.
TAIL_BYTES = 64 << 20


class SentMessage(NamedTuple):
    """A message of a step: at 0 what was lost before it, a chunk, its commit, whose `offset` is the step's length."""

    step: int
    offset: int
    message: bytes


class Tail:
    """Messages in the order in which they were sent."""

    def __init__(self) -> None:
        self._messages: deque[SentMessage] = deque()
        self._bytes = 0

    def add(self, sent: SentMessage) -> None:
        """Keep a message, and let go of the oldest ones when there are too many bytes."""
        self._messages.append(sent)
        self._bytes += len(sent.message)
        while self._bytes > TAIL_BYTES:
            self._bytes -= len(self._messages.popleft().message)

    def settle(self, step: int) -> None:
        """Let go of the steps up to this one."""
        while self._messages and self._messages[0].step <= step:
            self._bytes -= len(self._messages.popleft().message)

    def forget(self, step: int) -> None:
        """Let go of a step that will be sent anew; it is the newest one."""
        while self._messages and self._messages[-1].step == step:
            self._bytes -= len(self._messages.pop().message)

    def rest(self, step: int, received_bytes: int, checksum: wire.Checksum | None = None) -> list[bytes] | None:
        """Return the messages of a step after its first `received_bytes`; None when they are not all kept."""
        sent = [kept for kept in self._messages if kept.step == step]
        rest = [kept for kept in sent if kept.offset >= received_bytes]
        if not rest or rest[0].offset == received_bytes:
            return [kept.message for kept in rest] or None
        begun = _after(sent[-len(rest) - 1], received_bytes, checksum) if len(sent) > len(rest) else None
        return None if begun is None else [begun, *(kept.message for kept in rest)]


def _after(sent: SentMessage, received_bytes: int, checksum: wire.Checksum | None) -> bytes | None:
    """Return what a chunk has after the step's first `received_bytes`: its stream ended while the service took it."""
    chunk = wire.UpdateRequest.decode(sent.message).chunk
    if chunk is None:
        return None
    data = bytes(memoryview(chunk.data)[received_bytes - chunk.offset :])
    return wire.chunk_message(chunk.step, received_bytes, [data], len(data), checksum)
