"""The same bytes over a bare socket between two Python processes: what the loopback and Python can do at best.

    client → server   a request of 9 bytes: U or D, and the number of bytes
    U: the bytes, and one byte back when all have arrived     D: the bytes back
"""

from __future__ import annotations

import socket
import struct
import threading
import time

from commands import serve
from weights import random_elements

REQUEST = struct.Struct("<cQ")
PIECE_BYTES = 1 << 20
peer: socket.socket
data: memoryview


def listen(total_bytes: int) -> int:
    """Serve one connection in a thread; return the port."""
    server = socket.create_server(("127.0.0.1", 0))
    space = allocate(total_bytes)
    threading.Thread(target=answer, args=(server, space), daemon=True).start()
    return int(server.getsockname()[1])


def answer(server: socket.socket, space: memoryview) -> None:
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = bytearray(REQUEST.size)
    while receive(connection, memoryview(request)):
        kind, size = REQUEST.unpack(request)
        if kind == b"U":
            receive(connection, space[:size])
            connection.sendall(b"A")
        else:
            send(connection, space[:size])


def connect(port: int, total_bytes: int) -> None:
    global peer, data
    peer = socket.create_connection(("127.0.0.1", port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = allocate(total_bytes)


def push(count: int) -> dict[str, float]:
    """Send the bytes of some steps, each until its acknowledgement."""
    began = time.perf_counter()
    for _ in range(count):
        peer.sendall(REQUEST.pack(b"U", len(data)))
        send(peer, data)
        receive(peer, memoryview(bytearray(1)))
    return {"seconds": time.perf_counter() - began, "bytes": count * len(data)}


def pull(count: int) -> dict[str, float]:
    """Receive the bytes of some reads."""
    began = time.perf_counter()
    for _ in range(count):
        peer.sendall(REQUEST.pack(b"D", len(data)))
        receive(peer, data)
    return {"seconds": time.perf_counter() - began, "bytes": count * len(data)}


def allocate(total_bytes: int) -> memoryview:
    """Memory with numbers in it: untouched pages would be sent from one page of zeros."""
    return memoryview(random_elements(total_bytes // 4)).cast("B")


def send(connection: socket.socket, bytes_: memoryview) -> None:
    for start in range(0, len(bytes_), PIECE_BYTES):
        connection.sendall(bytes_[start : start + PIECE_BYTES])


def receive(connection: socket.socket, target: memoryview) -> bool:
    """Fill `target`; False when the other side is gone."""
    done = 0
    while done < len(target):
        count = connection.recv_into(target[done : done + PIECE_BYTES])
        if count == 0:
            return False
        done += count
    return True


if __name__ == "__main__":
    serve(listen=listen, connect=connect, push=push, pull=pull)
