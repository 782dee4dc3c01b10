"""A thread that sends one snapshot at a time."""

from __future__ import annotations

import threading
import time

from ..errors import DeadlineExceededError, ShadowkeepError
from ..run import Run
from .snapshot import Snapshot


class BackgroundSender:
    """Sends a snapshot while the trainer goes on. One is on its way at most.

    A failure is raised by the next call of any method, and by every later one.
    """

    def __init__(self, run: Run, snapshot: Snapshot) -> None:
        self._run = run
        self._snapshot = snapshot
        self._changed = threading.Condition()
        self._step: int | None = None
        self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="shadowkeep-sender", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a snapshot is still leaving."""
        with self._changed:
            self._raise_failure()
            return self._step is not None

    def wait_idle(self, timeout: float | None = None) -> None:
        """Wait until the snapshot has left, so that it can be taken anew."""
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

    def start(self, step: int) -> None:
        """Send the snapshot as `step`; the sender must be idle."""
        with self._changed:
            self._raise_failure()
            assert self._step is None
            self._step = step
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything is acknowledged."""
        self.wait_idle(timeout)
        self._run.flush(timeout)

    def stop(self) -> None:
        """End the thread after the snapshot that is leaving; failures are kept."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._step is None and not self._closed:
                    self._changed.wait()
                step = self._step
            if step is None:
                return
            try:
                self._snapshot.wait()
                self._run.push_space(step, self._snapshot.space)
            except Exception as error:
                with self._changed:
                    self._failure = error
            with self._changed:
                self._step = None
                self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            if isinstance(self._failure, ShadowkeepError):
                raise self._failure.again()
            raise RuntimeError(f"the snapshot was not sent: {self._failure}") from self._failure
