"""A channel to the service that is replaced where it cannot be used any more.

A channel has locks of its own, in Python and below it. They stay locked for ever in a child that was forked while
another thread held one, and after an exception that a signal handler (Ctrl-C) raised between two of its instructions.
Such a channel is left alone, closing it would wait for the same locks, and a new one takes its place.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from .backoff import Backoff, is_transient, is_unknown_host, was_not_sent
from .errors import FailedPreconditionError, ShadowkeepError
from .stub import Stub

# A channel whose streams are not cut off by then is left to a thread.
CLOSE_SECONDS_MAX = 0.5

logger = logging.getLogger("shadowkeep")

Answer = TypeVar("Answer")


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
        # By process and number: setdefault needs no lock, which a child could inherit locked. The old ones stay, since
        # nothing may be done with them.
        self._stubs: dict[tuple[int, int], Stub] = {}

    @contextmanager
    def stub(self) -> Iterator[Stub]:
        """Yield the methods for one call of this thread. An exception that is not the call's own costs the channel."""
        key = (os.getpid(), self._replaced)
        stub = self._stub_of(key)
        try:
            yield stub
        except (ShadowkeepError, grpc.RpcError, GeneratorExit):
            raise
        except BaseException:
            self._replaced = key[1] + 1
            raise

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
                with self.stub() as stub:
                    return invoke(stub)
            except ShadowkeepError as failure:
                if not (repeatable or was_not_sent(failure)) or not patience.waits(failure):
                    raise

    def close(self) -> None:
        """Close the channel; its streams fail. At once, whatever the network does."""
        self._closed = True
        stub = self._stubs.get((os.getpid(), self._replaced))
        if stub is None:
            return
        closing = threading.Thread(target=stub.close, name="shadowkeep-close", daemon=True)
        try:
            closing.start()
        except RuntimeError:
            # The interpreter is ending, and the channel with it.
            return
        closing.join(CLOSE_SECONDS_MAX)

    def _stub_of(self, key: tuple[int, int]) -> Stub:
        if self._closed:
            raise FailedPreconditionError(f"the client of {self.target} is closed")
        stub = self._stubs.get(key)
        if stub is None:
            made = Stub(self.target, self._timeout)
            stub = self._stubs.setdefault(key, made)
            if stub is not made:
                made.close()
        return stub


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
        if not is_transient(failure) or (not self._reached and is_unknown_host(failure)):
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
