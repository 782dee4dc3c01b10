"""A process that was forked has what its parent has opened, without the threads, with locks that nobody gives back."""

from __future__ import annotations

import os


class OwnProcess:
    """The process that has opened a run.

    Args:
        run: the run's name, for the error.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._pid = os.getpid()

    @property
    def is_this(self) -> bool:
        """Whether it is this one, and not one that this was forked from."""
        return self._pid == os.getpid()

    def check(self) -> None:
        """Raise RuntimeError where it is another one."""
        if not self.is_this:
            raise RuntimeError(
                f"run {self._run!r} was opened by process {self._pid}, from which this one ({os.getpid()}) was forked: "
                "it pushes what it has opened by itself"
            )
