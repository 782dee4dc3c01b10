"""A plain grpcio server that holds one float32 average and folds with torch's `lerp_`.

What a good engineer would write in an afternoon, given every advantage: messages are bare bytes (no protobuf), the
model is one flat tensor (its 5,000 small tensors cost nothing), a chunk is folded when it arrives, while it is in the
cache, and nothing is staged, so a step that breaks off leaves half of itself behind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import torch
from commands import serve

SERVICE = "bench.Shadow"
PIECE_BYTES = 1 << 20
WEIGHT = 1e-3
shadow: torch.Tensor


def update(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    """Fold the chunks of one step."""
    start = 0
    for request in requests:
        chunk = torch.frombuffer(request, dtype=torch.float32)
        shadow[start : start + len(chunk)].lerp_(chunk, WEIGHT)
        start += len(chunk)
    return b""


def get_shadow(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """Send the shadow in chunks."""
    view = memoryview(shadow.numpy()).cast("B")
    for start in range(0, len(view), PIECE_BYTES):
        yield bytes(view[start : start + PIECE_BYTES])


def listen(total_bytes: int, threads: int = 1, options: list[tuple[str, Any]] | None = None) -> int:
    """Start the server; return the port."""
    global shadow
    torch.set_num_threads(threads)
    shadow = torch.ones(total_bytes // 4)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1), *map(tuple, options or [])])
    handlers = {
        "Update": grpc.stream_unary_rpc_method_handler(update),
        "GetShadow": grpc.unary_stream_rpc_method_handler(get_shadow),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    keep.append(server)
    return int(port)


keep: list[Any] = []

if __name__ == "__main__":
    import warnings
    warnings.filterwarnings("ignore", message="The given buffer is not writable")
    serve(listen=listen)
