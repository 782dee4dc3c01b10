"""A thread that sends one step at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import DeadlineExceededError, ShadowkeepError


class BackgroundSender:
    """Sends a step while the trainer goes on. One is on its way at most.

    A failure is raised by the next call of any method, and by every later one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._step: int | None = None
        self._send: Callable[[], None] | None = None
        self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="shadowkeep-sender", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a step is still leaving."""
        with self._changed:
            self._raise_failure()
            return self._step is not None

    def wait_idle(self, timeout: float | None = None) -> None:
        """Wait until the step has left, so that its memory and its stream are free."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._step is not None and self._failure is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise DeadlineExceededError(
                        f"step {self._step} has not left after {timeout} s", reason="WAIT_TIMEOUT"
                    )
                self._changed.wait(left)
            self._raise_failure()

    def start(self, step: int, send: Callable[[], None]) -> None:
        """Call `send` in the thread, which sends `step`; the sender must be idle."""
        with self._changed:
            self._raise_failure()
            assert self._step is None
            self._step, self._send = step, send
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread after the step that is leaving; failures are kept."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._send is None and not self._closed:
                    self._changed.wait()
                send = self._send
            if send is None:
                return
            try:
                send()
            except Exception as error:
                with self._changed:
                    self._failure = error
            # Not kept until the next step: it may hold the memory of a whole model.
            del send
            with self._changed:
                self._step = self._send = None
                self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            if isinstance(self._failure, ShadowkeepError):
                raise self._failure.again()
            raise RuntimeError(f"the step was not sent: {self._failure}") from self._failure
