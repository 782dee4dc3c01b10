"""A failure that no new stream can heal: each later call of its writer raises it, or the end of the process tells."""

from __future__ import annotations

from typing import NoReturn

from . import ending
from .errors import ShadowkeepError
from .healing import Healing
from .own_process import OwnProcess
from .progress import Progress


class FinalFailure:
    """Whether a writer can go on, and who knows it when not.

    Args:
        process: the one that may use the writer.
        progress: who waits for a change of it is woken.
        healing: whether it goes on, there is no caller.
        unfinished: is finished at the end of the process, unless its owner knows of a failure.

    Attributes:
        failure: the first one; None: the writer can go on.
    """

    def __init__(
        self, process: OwnProcess, progress: Progress, healing: Healing, unfinished: ending.Unfinished
    ) -> None:
        self.failure: ShadowkeepError | None = None
        self._process = process
        self._progress = progress
        self._healing = healing
        self._unfinished = unfinished

    def set(self, failure: ShadowkeepError) -> None:
        """Note a failure that its owner knows of; from any thread."""
        self._note(failure)
        ending.forget(self._unfinished)

    def give_up(self, failure: ShadowkeepError) -> NoReturn:
        """Note a failure and raise it. Where no caller hears of it, the end of the process tells it."""
        self._note(failure)
        if not self._healing.is_under_way:
            ending.forget(self._unfinished)
        raise failure.again()

    def check(self) -> None:
        """Raise the failure, if there is one, or what a forked process gets."""
        self._process.check()
        if self.failure is not None:
            # Whoever gets it knows of it at the end of the process, too.
            ending.forget(self._unfinished)
            raise self.failure.again()

    def _note(self, failure: ShadowkeepError) -> None:
        self.failure = self.failure or failure
        with self._progress.lock:
            self._progress.changed.notify_all()
