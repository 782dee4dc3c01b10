"""A channel to the service, and another one where it cannot be used any more.

A channel has locks of its own, in Python and below it. They stay locked for ever in a child that was forked while
another thread held one, and after a read that an exception of a signal handler (Ctrl-C) has broken off between two
instructions of grpcio. Such a channel is left alone: closing and freeing it would wait for the same locks.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable

from .apart import Answer, apart, in_background
from .backoff import Backoff, is_disconnect, is_unknown_host, was_not_sent
from .errors import FailedPreconditionError, ShadowkeepError
from .stub import Stub

# A channel whose streams are not cut off by then is left to a thread.
CLOSE_SECONDS_MAX = 0.5

logger = logging.getLogger("shadowkeep")


class Connection:
    """One channel at a time to the service at `target`. Safe to use from several threads.

    Args:
        target: "HOST:PORT".
        timeout: deadline of single requests, seconds.
    """

    def __init__(self, target: str, timeout: float) -> None:
        self.target = target
        self._timeout = timeout
        self._closed = False
        self._replaced = 0
        # By process and number: setdefault needs no lock, which a child could inherit locked.
        self._stubs: dict[tuple[int, int], Stub] = {}

    def stub(self) -> Stub:
        """Return the methods of the present channel of this process."""
        if self._closed:
            raise FailedPreconditionError(f"the client of {self.target} is closed")
        stub = self._stubs.get(self._key)
        if stub is None:
            made = Stub(self.target, self._timeout)
            stub = self._stubs.setdefault(self._key, made)
            if stub is not made:
                made.close()
        return stub

    def replace(self) -> None:
        """Leave the present channel to itself; the next call makes another."""
        stub = self._stubs.pop(self._key, None)
        self._replaced += 1
        if stub is not None:
            # Never freed: that would close it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(stub))

    def call(self, invoke: Callable[[Stub], Answer], reconnect_timeout: float, *, repeatable: bool = True) -> Answer:
        """Make a unary call, again and again while there is no service, for `reconnect_timeout` seconds.

        Args:
            invoke: makes it.
            reconnect_timeout: seconds.
            repeatable: whether a request that may have arrived can be sent again.
        """
        patience = Patience(self.target, reconnect_timeout)
        while True:
            try:
                return apart(lambda: invoke(self.stub()))
            except ShadowkeepError as failure:
                if not (repeatable or was_not_sent(failure)) or not patience.waits(failure):
                    raise

    def close(self) -> None:
        """Close the channel; its streams fail. At once, whatever the network does."""
        self._closed = True
        stub = self._stubs.get(self._key)
        if stub is None:
            return
        closed = threading.Event()

        def close() -> None:
            stub.close()
            closed.set()

        in_background(close)
        closed.wait(CLOSE_SECONDS_MAX)

    @property
    def _key(self) -> tuple[int, int]:
        return os.getpid(), self._replaced


class Patience:
    """Attempts to reach a service, of which it may be that it is not up yet.

    Args:
        target: where it is looked for.
        reconnect_timeout: seconds for all attempts since the last progress.
    """

    def __init__(self, target: str, reconnect_timeout: float) -> None:
        self._target = target
        self._reconnect_timeout = reconnect_timeout
        self._backoff: Backoff | None = None
        self._reached = False

    def waits(self, failure: ShadowkeepError, *, progress: bool = False) -> bool:
        """Wait before the next attempt; False: there is none, the failure is to be raised.

        Args:
            failure: of the last attempt.
            progress: something came before it, so that the time begins anew.
        """
        self._reached |= progress
        if not is_disconnect(failure) or (not self._reached and is_unknown_host(failure)):
            return False
        if self._backoff is None or progress:
            if self._backoff is None and self._reconnect_timeout > 0:
                logger.warning("%s: trying again for %g s", failure, self._reconnect_timeout)
            self._backoff = Backoff(self._reconnect_timeout)
        pause = self._backoff.next_pause()
        if pause is None:
            return False
        time.sleep(pause)
        return True
