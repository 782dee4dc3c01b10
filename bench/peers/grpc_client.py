from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
from commands import serve
from weights import random_elements

PIECE_BYTES = 1 << 20
data: memoryview


def connect(port: int, total_bytes: int, options: list[tuple[str, Any]] | None = None) -> None:
    global data, update, get_shadow
    data = memoryview(random_elements(total_bytes // 4)).cast("B")
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1), *map(tuple, options or [])])
    update = channel.stream_unary("/bench.Shadow/Update")
    get_shadow = channel.unary_stream("/bench.Shadow/GetShadow")


def push(count: int) -> dict[str, float]:
    began = time.perf_counter()
    for _ in range(count):
        update(bytes(data[start : start + PIECE_BYTES]) for start in range(0, len(data), PIECE_BYTES))
    return {"seconds": time.perf_counter() - began, "bytes": count * len(data)}


def pull(count: int) -> dict[str, float]:
    began = time.perf_counter()
    for _ in range(count):
        target = memoryview(np.empty(len(data), np.uint8))
        done = 0
        for chunk in get_shadow(b""):
            target[done : done + len(chunk)] = chunk
            done += len(chunk)
        assert done == len(data)
    return {"seconds": time.perf_counter() - began, "bytes": count * len(data)}


if __name__ == "__main__":
    serve(connect=connect, push=push, pull=pull)
