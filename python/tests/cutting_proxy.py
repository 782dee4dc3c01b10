"""A TCP proxy between client and service that counts what passes, and cuts connections where a test says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

PIECE_BYTES = 1 << 16
# With it, closing a socket is a reset: the peer's process sees a broken connection, not an end.
RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Connections to `target`, each carried by two threads.

    Attributes:
        target: where clients connect to.
        sent: bytes that clients have sent, over all connections.
        answered: bytes that the service has answered.
        connections: how many there were.
        was_cut: set by the first cut.
    """

    def __init__(self, target: str, port: int = 0) -> None:
        self.upstream = target
        self.sent = self.answered = self.connections = 0
        self._cut_at: dict[str, list[int]] = {"sent": [], "answered": []}
        self._holds_answers = False
        self._refuses = self._refuses_after_cut = False
        self.was_cut = threading.Event()
        self._lets_pass = threading.Event()
        self._lets_pass.set()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after_sent(self, *counts: int) -> None:
        """Cut when so many more bytes have been sent; of several counts, each from the cut before."""
        self._arm("sent", self.sent, counts)

    def cut_after_answered(self, *counts: int) -> None:
        """Cut when so many more bytes have been answered."""
        self._arm("answered", self.answered, counts)

    def refuse_after_cut(self) -> None:
        """After the next cut, cut each new connection at once, until `refuse(False)`."""
        self._refuses_after_cut = True

    def hold_answers(self) -> None:
        """Let no answer pass until the next cut."""
        self._holds_answers = True

    def stall(self) -> None:
        """Take nothing more and let nothing pass, as a network does that has broken without a word."""
        self._lets_pass.clear()

    def go_on(self) -> None:
        """Let pass again."""
        self._lets_pass.set()

    def cut(self) -> None:
        """Reset all connections."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
            self._holds_answers = False
            self._refuses, self._refuses_after_cut = self._refuses or self._refuses_after_cut, False
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.shutdown(socket.SHUT_RD)
                end.close()
        self.was_cut.set()

    def refuse(self, refuses: bool = True) -> None:
        """Cut all connections, and each new one at once."""
        self._refuses = refuses
        if refuses:
            self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lets_pass.set()
        self._listener.close()
        self.cut()

    def _arm(self, direction: str, now: int, counts: tuple[int, ...]) -> None:
        total = now
        for count in counts:
            total += count
            self._cut_at[direction].append(total)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refuses:
                    client.close()
                    continue
                self.connections += 1
                host, port = self.upstream.rsplit(":", 1)
                try:
                    service = socket.create_connection((host, int(port)))
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._pairs.append((client, service))
                for ends in (("sent", client, service), ("answered", service, client)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while self._lets_pass.wait() and (data := source.recv(PIECE_BYTES)):
                total = getattr(self, direction) + len(data)
                setattr(self, direction, total)
                if direction == "answered" and self._holds_answers:
                    continue
                self._lets_pass.wait()
                sink.sendall(data)
                cuts = self._cut_at[direction]
                if cuts and total >= cuts[0]:
                    cuts.pop(0)
                    self.cut()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
