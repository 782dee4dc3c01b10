"""What was pushed is sent before the process ends, also where nobody has closed the run.

The interpreter waits for threads that are no daemons when its main thread has ended, whether by the last line, by an
exception or by `sys.exit`; one such thread is started with the first run. A forked child has it not: what it inherits
is its parent's to finish. Nothing helps a process that a signal or `os._exit` ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Protocol

# For everything together. Batch systems give a job about as long before they kill it.
EXIT_SECONDS_MAX = 30.0
# What is finished says so a little after its time.
ANSWER_SECONDS_MAX = 3.0


class Unfinished(Protocol):
    """Has steps that may not have arrived."""

    @property
    def is_own(self) -> bool:
        """Whether this process has pushed them, and not one that it was forked from."""

    def finish(self, seconds: float) -> str | None:
        """Wait for them, at most so long; return what is lost, None: nothing."""


# By identity, in the order of their making; finished in reverse, since who hands steps to a sender was made after it.
_watched: dict[int, Unfinished] = {}
# Of each process, by its id, the thread that waits for its end.
_watchers: dict[int, threading.Thread] = {}


def watch(unfinished: Unfinished) -> None:
    """Finish it at the end of the process, unless it is forgotten before."""
    _watched[id(unfinished)] = unfinished
    pid = os.getpid()
    if pid in _watchers:
        return
    thread = threading.Thread(target=_finish_at_the_end, name="shadowkeep-ending")
    try:
        # In one step: of two threads that wait for each other's end, none ends.
        if _watchers.setdefault(pid, thread) is thread:
            thread.start()
    except BaseException as failure:
        if not thread.is_alive():
            _watchers.pop(pid, None)
        if not isinstance(failure, RuntimeError):
            raise
        # The interpreter is ending already.


def forget(unfinished: Unfinished) -> None:
    """Its steps have arrived, or their owner knows that they have not."""
    _watched.pop(id(unfinished), None)


def _finish_at_the_end() -> None:
    if _watchers.get(os.getpid()) is not threading.current_thread():
        return
    _wait_for_the_others()
    deadline = time.monotonic() + EXIT_SECONDS_MAX
    for key, unfinished in reversed(list(_watched.items())):
        if key not in _watched or not unfinished.is_own:
            continue
        lost = _finish(unfinished, deadline)
        if lost is not None:
            sys.stderr.write(f"shadowkeep: the process ends and {lost}. close() waits for what was pushed\n")
            sys.stderr.flush()


def _finish(unfinished: Unfinished, deadline: float) -> str | None:
    """Finish it in a thread that can be left behind: an interrupt in the wrong place has cost it a lock for ever."""
    lost: list[str | None] = ["steps that were pushed may be lost: what sends them does not answer"]

    def finish() -> None:
        lost.append(unfinished.finish(max(0.0, deadline - time.monotonic())))

    thread = threading.Thread(target=finish, name="shadowkeep-ending-one", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()) + ANSWER_SECONDS_MAX)
    return lost[-1]


def _wait_for_the_others() -> None:
    """Return when all threads have ended for which the interpreter waits."""
    while True:
        own = threading.current_thread()
        others = [thread for thread in threading.enumerate() if thread.is_alive() and not thread.daemon]
        others = [thread for thread in others if thread is not own]
        if not others:
            return
        for thread in others:
            thread.join()
