"""A plain grpcio server that holds one float32 average and folds with torch's `lerp_`.

What a good engineer writes in an afternoon, given every advantage: the model is one flat tensor (its thousands of
small tensors cost nothing), a chunk is folded when it arrives, while it is in the cache, and nothing is staged, so a
step that breaks off leaves a part of itself behind.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import torch
from commands import serve
from grpc_messages import MESSAGES, PIECE_BYTES, SERVICE, UNBOUNDED, Messages

WEIGHT = 1e-3
shadow: torch.Tensor
messages: Messages
server: grpc.Server


def update(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
    """Fold the chunks of one step."""
    received = 0
    for request in requests:
        offset, data = messages.unpack(request, received)
        weights = torch.frombuffer(data, dtype=torch.float32)
        shadow[offset // 4 : offset // 4 + len(weights)].lerp_(weights, WEIGHT)
        received += len(data)
    return messages.pack(0, b"")


def get_shadow(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    """Send the shadow in chunks."""
    view = memoryview(shadow.numpy()).cast("B")
    for start in range(0, len(view), PIECE_BYTES):
        yield messages.pack(start, bytes(view[start : start + PIECE_BYTES]))


def listen(total_bytes: int, kind: str) -> int:
    """Start the server; return the port."""
    global shadow, messages, server
    # A read-only buffer is fine: weights are only read.
    warnings.filterwarnings("ignore", message="The given buffer is not writable")
    shadow = torch.ones(total_bytes // 4)
    messages = MESSAGES[kind]
    server = grpc.server(ThreadPoolExecutor(4), options=UNBOUNDED)
    codec = {"request_deserializer": messages.from_bytes, "response_serializer": messages.to_bytes}
    handlers = {
        "Update": grpc.stream_unary_rpc_method_handler(update, **codec),
        "GetShadow": grpc.unary_stream_rpc_method_handler(get_shadow, **codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port


if __name__ == "__main__":
    serve(listen=listen)
