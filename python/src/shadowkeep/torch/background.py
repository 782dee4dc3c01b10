"""A thread that sends one step at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .. import ending
from ..errors import DeadlineExceededError, ShadowkeepError
from ..own_process import OwnProcess

# How often the thread and who waits for it look for each other.
LOOK_SECONDS = 5.0


class BackgroundSender:
    """Sends a step while the trainer goes on. One is on its way at most.

    A failure is raised by the next call of any method, and by every later one. An outage, which the step that is being
    sent goes on trying to outlast, is raised by those that would wait for it.

    Args:
        run: the run's name, for errors.
        abandon: ends the step that is being sent.

    Attributes:
        newest_step: the last one that was given to it.
    """

    def __init__(self, run: str, abandon: Callable[[], None]) -> None:
        self._run = run
        self._abandon = abandon
        # Held by its own `with`, as in `Progress`.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self.newest_step: int | None = None
        self._step: int | None = None
        self._send: Callable[[], None] | None = None
        self._closed = False
        self._failure: Exception | None = None
        self._failed_step: int | None = None
        self._outage: ShadowkeepError | None = None
        self._process = OwnProcess(run)
        self._thread = threading.Thread(target=self._work, name="shadowkeep-sender", daemon=True)
        self._thread.start()
        ending.watch(self)

    @property
    def is_own(self) -> bool:
        """Whether this process has it, and not one that it was forked from."""
        return self._process.is_this

    @property
    def busy(self) -> bool:
        """Whether a step is still leaving."""
        self._process.check()
        with self._lock:
            return self._step is not None and self._failure is None

    @property
    def step(self) -> int | None:
        """The step that is still leaving."""
        with self._lock:
            return self._step

    @property
    def has_failed(self) -> bool:
        """Whether nothing will be sent any more."""
        with self._lock:
            return self._failure is not None

    def wait_idle(self, timeout: float | None = None) -> None:
        """Wait until the step has left, so that its memory and its stream are free."""
        self._process.check()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while self._step is not None and self._failure is None and self._outage is None:
                left = LOOK_SECONDS if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise DeadlineExceededError(
                        f"step {self._step} has not left after {timeout} s", reason="WAIT_TIMEOUT"
                    )
                self._changed.wait(min(left, LOOK_SECONDS))
                if self._step is not None and not self._thread.is_alive():
                    raise RuntimeError(f"step {self._step} of run {self._run!r} was not sent: its thread has ended")
            self._raise_failure()
            if self._step is not None and self._outage is not None:
                raise self._outage.again()

    def start(self, step: int, send: Callable[[], None]) -> None:
        """Call `send` in the thread, which sends `step`; the sender must be idle."""
        self._process.check()
        with self._lock:
            self._raise_failure()
            assert self._step is None
            self._step, self._send, self.newest_step = step, send, step
            self._changed.notify_all()

    def report_outage(self, failure: ShadowkeepError) -> None:
        """Let nobody wait for a step that is being sent until the outage ends; called by what sends it."""
        with self._lock:
            self._outage = failure
            self._changed.notify_all()

    def end_outage(self) -> None:
        """Let steps be waited for again."""
        with self._lock:
            self._outage = None

    def stop(self) -> None:
        """End the thread after the step that is leaving; failures are kept."""
        if not self.is_own:
            return
        ending.forget(self)
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def finish(self, seconds: float) -> str | None:
        """Wait until the step has left; return what is lost, None: nothing."""
        try:
            self.wait_idle(seconds)
        except Exception as failure:
            with self._lock:
                step = self._failed_step if self._step is None else self._step
            self._abandon()
            return f"step {step} of run {self._run!r} may be lost: {failure}"
        return None

    def _work(self) -> None:
        while True:
            with self._lock:
                while self._send is None and not self._closed:
                    # Bounded: who was to wake it may have been interrupted just before.
                    self._changed.wait(LOOK_SECONDS)
                send = self._send
            if send is None:
                return
            try:
                send()
            except Exception as error:
                with self._lock:
                    self._failure, self._failed_step = error, self._step
            # Not kept until the next step: it may hold the memory of a whole model.
            del send
            with self._lock:
                self._step = self._send = None
                self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        # Whoever gets it knows of it at the end of the process, too.
        ending.forget(self)
        if isinstance(self._failure, ShadowkeepError):
            raise self._failure.again()
        raise RuntimeError(f"the step was not sent: {self._failure}") from self._failure
