"""Calls into grpcio that no signal handler can break off.

An exception that a handler raises (Ctrl-C) lands between any two instructions of the main thread. In the middle of
grpcio it leaves locks held for ever. What a trainer's channel is used for is done by another thread, for which the main
one waits; an exception ends that wait, and nothing else.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class _Work(Generic[Answer]):
    def __init__(self, work: Callable[[], Answer]) -> None:
        self._work = work
        self._answers: list[Answer] = []
        self._failure: BaseException | None = None
        # A plain lock: waiting for it runs no Python code.
        self._busy = _thread.allocate_lock()
        self._busy.acquire()

    def run(self) -> None:
        try:
            self._answers.append(self._work())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._busy.release()

    def wait(self) -> Answer:
        self._busy.acquire()
        if self._failure is not None:
            raise self._failure
        return self._answers.pop()


def apart(work: Callable[[], Answer], give_up: Callable[[], None] | None = None) -> Answer:
    """Return what `work` does; in another thread where this is the main one.

    Args:
        work: what is done.
        give_up: ends it early; called, in a thread of its own, after an exception while it is waited for.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    running = _Work(work)
    try:
        _thread.start_new_thread(running.run, ())
    except RuntimeError:
        # No thread begins while the interpreter ends.
        return work()
    try:
        return running.wait()
    except BaseException:
        if give_up is not None:
            in_background(give_up)
        raise


def in_background(work: Callable[[], object]) -> None:
    """Do it in another thread, and wait for nothing; what it raises is nobody's concern."""
    running = _Work(work)
    try:
        _thread.start_new_thread(running.run, ())
    except RuntimeError:
        running.run()
