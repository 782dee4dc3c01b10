"""Checks a server's health again and again, as a container engine does, only more often."""

from __future__ import annotations

import threading
import time

import grpc
from commands import serve

PAUSE_SECONDS = 0.002
EMPTY_REQUEST = b""
SERVING = b"\x08\x01"


class Prober:
    """Probes in a thread; `samples` are when each began and how long it took, seconds of the monotonic clock."""

    def __init__(self, target: str) -> None:
        self.samples: list[tuple[float, float]] = []
        self._check = grpc.insecure_channel(target).unary_unary("/grpc.health.v1.Health/Check")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._probe)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _probe(self) -> None:
        while not self._stopped.wait(PAUSE_SECONDS):
            began = time.monotonic()
            answer = self._check(EMPTY_REQUEST)
            self.samples.append((began, time.monotonic() - began))
            if answer != SERVING:
                raise RuntimeError(f"the server is not healthy: {answer!r}")


prober: Prober


def begin(target: str) -> None:
    global prober
    prober = Prober(target)
    prober.start()


def end() -> list[tuple[float, float]]:
    prober.stop()
    return prober.samples


if __name__ == "__main__":
    serve(begin=begin, end=end)
