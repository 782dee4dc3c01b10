"""The service's methods as callables of messages, and the channel's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import grpc
import grpc.experimental

from . import wire
from .errors import from_rpc

SERVICE = "/shadowkeep.v1.ShadowWeights/"

# The largest header: a run of 65,536 tensors with long names.
MESSAGE_BYTES_MAX = 32 << 20

# A peer that vanished without a word is noticed in a minute and a half, the same as on the service's side.
KEEPALIVE_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    # The writer and the reader pause by themselves (backoff.py); the channel's own pauses must not outlast theirs.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # The reading thread polls for its own responses, without a second thread and its wake-ups: a tenth to a fifth
    # less CPU per byte read.
    (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
)

Request = TypeVar("Request", bound=wire.Message)
Response = TypeVar("Response", bound=wire.Message)


class StreamCall(Protocol):
    """A call that streams responses."""

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def cancel(self) -> bool: ...  # noqa: D102


class Stub:
    """One connection's methods; failures are ShadowkeepError.

    Args:
        channel: the connection.
        timeout: deadline of the unary calls, seconds.
    """

    def __init__(self, channel: grpc.Channel, timeout: float) -> None:
        self._timeout = timeout
        self._channel = channel
        self.open_run = self._unary("OpenRun", wire.OpenRunRequest, wire.OpenRunResponse)
        self.get_run = self._unary("GetRun", wire.GetRunRequest, wire.RunInfo)
        self.list_runs = self._unary("ListRuns", wire.ListRunsRequest, wire.ListRunsResponse)
        self.delete_run = self._unary("DeleteRun", wire.DeleteRunRequest, wire.DeleteRunResponse)
        self.add_average = self._unary("AddAverage", wire.AddAverageRequest, wire.AddAverageResponse)
        self.remove_average = self._unary("RemoveAverage", wire.RemoveAverageRequest, wire.RemoveAverageResponse)
        self._get_shadow = self._server_stream("GetShadow", wire.GetShadowResponse)
        self._watch_run = self._server_stream("WatchRun", wire.RunEvent)
        self._update = channel.stream_stream(
            SERVICE + "Update",
            request_serializer=_identity,
            response_deserializer=wire.UpdateResponse.decode,
        )

    def get_shadow(self, request: wire.GetShadowRequest) -> StreamCall:
        """Start a read; the call yields GetShadowResponse."""
        call: StreamCall = self._get_shadow(request)
        return call

    def watch_run(self, request: wire.WatchRunRequest) -> StreamCall:
        """Start to follow a run; the call yields RunEvent."""
        call: StreamCall = self._watch_run(request)
        return call

    def update(self, requests: Iterable[bytes]) -> StreamCall:
        """Start a writer's stream of finished messages; the call yields UpdateResponse."""
        call: StreamCall = self._update(iter(requests))
        return call

    def _unary(self, method: str, request: type[Request], response: type[Response]) -> Callable[[Request], Response]:
        call = self._channel.unary_unary(
            SERVICE + method, request_serializer=request.encode, response_deserializer=response.decode
        )

        def invoke(message: Request) -> Response:
            try:
                return call(message, timeout=self._timeout)
            except grpc.RpcError as error:
                raise from_rpc(error) from None

        return invoke

    def _server_stream(self, method: str, response: type[wire.Message]) -> Callable[[wire.Message], Any]:
        return self._channel.unary_stream(
            SERVICE + method, request_serializer=wire.Message.encode, response_deserializer=response.decode
        )


def _identity(message: bytes) -> bytes:
    return message
