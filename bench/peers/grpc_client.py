"""The client of `grpc_server.py`: its model is one flat array, and it cuts its messages from that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
from commands import serve
from grpc_messages import MESSAGES, PIECE_BYTES, SERVICE, UNBOUNDED, Messages
from weights import random_elements

data: memoryview
messages: Messages
update: grpc.StreamUnaryMultiCallable
get_shadow: grpc.UnaryStreamMultiCallable


def connect(port: int, total_bytes: int, kind: str) -> None:
    global data, messages, update, get_shadow
    data = memoryview(random_elements(total_bytes // 4)).cast("B")
    messages = MESSAGES[kind]
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=UNBOUNDED)
    codec = {"request_serializer": messages.to_bytes, "response_deserializer": messages.from_bytes}
    update = channel.stream_unary(f"/{SERVICE}/Update", **codec)
    get_shadow = channel.unary_stream(f"/{SERVICE}/GetShadow", **codec)


def push(count: int) -> dict[str, float]:
    """Push steps, each until it is acknowledged."""
    began = time.perf_counter()
    for _ in range(count):
        update(pieces())
    return {"seconds": time.perf_counter() - began, "bytes": count * len(data)}


def pieces() -> Iterator[Any]:
    for start in range(0, len(data), PIECE_BYTES):
        yield messages.pack(start, bytes(data[start : start + PIECE_BYTES]))


def pull(count: int) -> dict[str, float]:
    """Read the shadow into memory that is there."""
    began = time.perf_counter()
    for _ in range(count):
        received = 0
        for message in get_shadow(messages.pack(0, b"")):
            offset, piece = messages.unpack(message, received)
            data[offset : offset + len(piece)] = piece
            received += len(piece)
        if received != len(data):
            raise RuntimeError(f"{received} of {len(data)} bytes arrived")
    return {"seconds": time.perf_counter() - began, "bytes": count * len(data)}


if __name__ == "__main__":
    serve(connect=connect, push=push, pull=pull)
