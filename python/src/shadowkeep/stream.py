"""A writer's stream: finished messages go out through a short queue, acknowledgements come back in a thread.

    caller:  send(message) ── queue of QUEUE_MESSAGES ──▶ grpcio's own thread ──▶ service
    caller:  wait_acked()  ◀───────────────────────────── reader thread      ◀── opened, ack, ack …

The queue is the backpressure: it fills when the service (or the network) is slower than the trainer, and `send` waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import grpc

from . import wire
from .errors import DeadlineExceededError, ShadowkeepError, UnavailableError, from_rpc
from .stub import Stub

# 16 MiB of 1 MiB chunks: what the service's own queue holds, so that neither side waits for the other's wake-up.
QUEUE_MESSAGES = 16


class UpdateStream:
    """One open `Update` call. The first failure ends it and is raised by every later call.

    Attributes:
        committed_step: newest step that readers can see, by the last answer; None before the first commit.
        durable_step: newest step that a crash cannot take back, by the last answer.
        rejected_steps: steps that the service refused to fold for their non-finite values.
        complaint: the first thing that it said about such values.
    """

    def __init__(self, stub: Stub, opening: wire.UpdateOpen) -> None:
        self.committed_step: int | None = None
        self.durable_step: int | None = None
        self.rejected_steps = 0
        self.complaint: str | None = None
        self._changed = threading.Condition()
        self._queue = deque([wire.UpdateRequest(open=opening).encode()])
        self._step_bytes: tuple[int, int] | None = None
        self._unacked_commits = 0
        self._half_closed = False
        self._ended = False
        self._failure: ShadowkeepError | None = None
        self._call = stub.update(self._messages())
        threading.Thread(target=self._read, name="shadowkeep-acks", daemon=True).start()

    @property
    def failed(self) -> bool:
        """Whether the stream has ended with an error."""
        return self._failure is not None

    def wait_opened(self, timeout: float) -> tuple[int, int]:
        """Wait for the service's answer to the opening; return the length of a step and of the first one, bytes."""
        with self._changed:
            self._wait_until(lambda: self._step_bytes is not None, timeout, "the stream was not opened")
            assert self._step_bytes is not None
            return self._step_bytes

    def send(self, message: bytes) -> None:
        """Queue a chunk's message; waits while the queue is full."""
        with self._changed:
            self._wait_until(lambda: len(self._queue) < QUEUE_MESSAGES, None, "")
            self._raise_failure()
            self._queue.append(message)
            self._changed.notify_all()

    def commit(self, commit: wire.Commit) -> None:
        """Queue the end of a step."""
        message = wire.UpdateRequest(commit=commit).encode()
        with self._changed:
            self._raise_failure()
            self._unacked_commits += 1
            self._queue.append(message)
            self._changed.notify_all()

    def wait_acked(self, timeout: float | None) -> None:
        """Wait until every commit is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        with self._changed:
            self._wait_until(lambda: self._unacked_commits == 0, timeout, "steps are not acknowledged yet")

    def close(self, timeout: float | None) -> None:
        """Wait until every commit is acknowledged, then end the stream in order."""
        self.wait_acked(timeout)
        with self._changed:
            self._half_closed = True
            self._changed.notify_all()
            self._wait_until(lambda: self._ended, timeout, "the service has not ended the stream")

    def cancel(self, why: str) -> None:
        """End the stream at once; a step that is not whole leaves no trace."""
        self._end(UnavailableError(why, reason="CANCELLED"))
        self._call.cancel()

    def _messages(self) -> Iterator[bytes]:
        """Runs in grpcio's thread."""
        while True:
            with self._changed:
                while not self._queue and not self._half_closed and not self._ended:
                    self._changed.wait()
                if self._ended or not self._queue:
                    return
                message = self._queue.popleft()
                self._changed.notify_all()
            yield message

    def _read(self) -> None:
        try:
            for response in self._call:
                self._take(response)
        except grpc.RpcError as error:
            self._end(from_rpc(error))
        else:
            self._end(None if self._half_closed else UnavailableError("the service ended the stream"))

    def _take(self, response: wire.UpdateResponse) -> None:
        with self._changed:
            answer = response.opened or response.ack
            if answer is None:
                return
            if response.opened is not None:
                self._step_bytes = (response.opened.step_bytes, response.opened.first_step_bytes)
            elif response.ack is not None:
                self._unacked_commits -= 1
                self._note(response.ack)
            self.committed_step = answer.committed_step
            self.durable_step = answer.durable_step
            self._changed.notify_all()

    def _note(self, ack: wire.Ack) -> None:
        if ack.state == wire.StepState.REJECTED:
            self.rejected_steps += 1
        if ack.detail and self.complaint is None:
            self.complaint = f"step {ack.step}: {ack.detail}"

    def _end(self, failure: ShadowkeepError | None) -> None:
        with self._changed:
            if not self._ended:
                self._ended = True
                self._failure = failure
                self._queue.clear()
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.again()

    def _wait_until(self, done: Callable[[], bool], timeout: float | None, problem: str) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            self._raise_failure()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise DeadlineExceededError(f"{problem} after {timeout} s", reason="WAIT_TIMEOUT")
            self._changed.wait(left)
