"""A writer's stream: finished messages go out through a short queue, acknowledgements come back in a thread.

    caller:  send(message) ── queue of QUEUE_MESSAGES ──▶ grpcio's own thread ──▶ service
    caller:  take_acks()   ─────────────────────────────▶ reader thread      ◀── opened
    caller:  wait_acked()  ◀── Progress ────────────────  reader thread      ◀── ack, ack …

The queue is the backpressure: it fills when the service (or the network) is slower than the trainer, and `send` waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import grpc

from . import wire
from .apart import in_background
from .errors import DeadlineExceededError, ShadowkeepError, UnavailableError
from .progress import Progress
from .stub import Stub
from .tail import SentMessage

# 16 MiB of 1 MiB chunks: what the service's own queue holds, so that neither side waits for the other's wake-up.
QUEUE_MESSAGES = 16

# A service that is reached, and in so long takes no message and answers none, is not waited for: the largest steps take
# seconds, the slowest disks a minute, and a peer that vanished is noticed by the channel's keepalive.
STALL_SECONDS_MAX = 300.0

# How often grpcio's thread looks at the queue: who was to wake it may have been interrupted just before.
LOOK_SECONDS = 5.0

STALLED = "the service has taken nothing and said nothing"


class UpdateStream:
    """One open `Update` call. The first failure ends it and is raised by every later call.

    Args:
        stub: the connection.
        opening: the first message.
        progress: takes the acknowledgements.
        stall_seconds: a wait without a bound of its own fails when nothing has moved for so long.
        on_failure: called with the stream and its failure, if it fails, at the end of its own thread.
    """

    def __init__(
        self,
        stub: Stub,
        opening: wire.UpdateOpen,
        progress: Progress,
        stall_seconds: float = STALL_SECONDS_MAX,
        on_failure: Callable[[UpdateStream, ShadowkeepError], None] = lambda *_: None,
    ) -> None:
        self._progress = progress
        self._lock = progress.lock
        self._changed = progress.changed
        self._stub = stub
        self._stall_seconds = stall_seconds
        self._on_failure = on_failure
        self._moved_at = time.monotonic()
        self._queue = deque([wire.UpdateRequest(open=opening).encode()])
        self._opened: wire.UpdateOpened | None = None
        self._takes_acks = False
        self._half_closed = False
        self._ended = False
        self._failure: ShadowkeepError | None = None
        self._call = stub.update(self._messages())
        threading.Thread(target=self._read, name="shadowkeep-acks", daemon=True).start()

    def wait_opened(self, timeout: float) -> wire.UpdateOpened:
        """Wait for the service's answer to the opening, which comes when all writers have opened theirs."""
        with self._lock:
            self._wait_until(lambda: self._opened is not None, timeout, "the stream was not opened")
            assert self._opened is not None
            return self._opened

    def take_acks(self) -> None:
        """Let acknowledgements through, which wait until the caller has dealt with `opened`."""
        with self._lock:
            self._takes_acks = True
            self._changed.notify_all()

    def send(self, message: bytes) -> None:
        """Queue a finished message; waits while the queue is full."""
        with self._lock:
            self._wait_until(lambda: len(self._queue) < QUEUE_MESSAGES, None, "the stream takes no message")
            self._raise_failure()
            self._queue.append(message)
            self._changed.notify_all()

    def send_kept(self, sent: SentMessage) -> None:
        """Queue a message that is not at hand any more when the step has been sent."""
        self.send(sent.message)
        with self._lock:
            self._progress.tail.add(sent)

    def commit(self, commit: wire.Commit) -> None:
        """Queue the end of a step."""
        message = wire.UpdateRequest(commit=commit).encode()
        with self._lock:
            self._raise_failure()
            self._progress.pending.append(commit)
            self._progress.tail.add(SentMessage(commit.step, commit.bytes, message))
            self._queue.append(message)
            self._changed.notify_all()

    def wait_acked(self, timeout: float | None) -> None:
        """Wait until every commit is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        with self._lock:
            self._wait_until(lambda: not self._progress.pending, timeout, "steps are not acknowledged yet")

    def close(self, timeout: float | None) -> None:
        """Wait until every commit is acknowledged, then end the stream in order."""
        self.wait_acked(timeout)
        with self._lock:
            self._half_closed = True
            self._changed.notify_all()
            self._wait_until(lambda: self._ended, timeout, "the service has not ended the stream")

    def cancel(self, why: str) -> None:
        """End the stream at once; a step that is not whole leaves no trace."""
        self._end(UnavailableError(why, reason="CANCELLED"))
        # Not by this thread, which may be the main one, and without waiting for grpcio's.
        in_background(self._call.cancel)

    def _messages(self) -> Iterator[bytes]:
        """Runs in grpcio's thread."""
        while True:
            with self._lock:
                while not self._queue and not self._half_closed and not self._ended:
                    self._changed.wait(LOOK_SECONDS)
                if self._ended or not self._queue:
                    return
                message = self._queue.popleft()
                self._moved_at = time.monotonic()
                self._changed.notify_all()
            yield message

    def _read(self) -> None:
        try:
            for response in self._call:
                self._take(response)
        except grpc.RpcError as error:
            self._end(self._stub.failure(error))
        else:
            self._end(None if self._half_closed else UnavailableError("the service ended the stream"))
        if self._failure is not None:
            self._on_failure(self, self._failure)

    def _take(self, response: wire.UpdateResponse) -> None:
        with self._lock:
            if self._ended:
                return
            self._moved_at = time.monotonic()
            if response.opened is not None:
                self._opened = response.opened
                self._changed.notify_all()
            if response.ack is None:
                return
            # Progress that is newer than `opened` would make the service look as if it had gone back.
            while not self._takes_acks and not self._ended:
                self._changed.wait(LOOK_SECONDS)
            if self._ended:
                return
            self._progress.on_ack(response.ack)
            self._changed.notify_all()

    def _end(self, failure: ShadowkeepError | None) -> None:
        with self._lock:
            if not self._ended:
                self._ended = True
                self._failure = failure
                self._queue.clear()
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.again()

    def _wait_until(self, done: Callable[[], bool], timeout: float | None, problem: str) -> None:
        """Wait; the lock is held. Without a timeout the bound is that of a stream on which nothing moves."""
        began = time.monotonic()
        while not done():
            self._raise_failure()
            until = max(began, self._moved_at) + self._stall_seconds if timeout is None else began + timeout
            left = until - time.monotonic()
            if left <= 0 and timeout is None:
                raise UnavailableError(f"{problem}: for {self._stall_seconds:g} s {STALLED}")
            if left <= 0:
                raise DeadlineExceededError(f"{problem} after {timeout} s", reason="WAIT_TIMEOUT")
            self._changed.wait(left)
