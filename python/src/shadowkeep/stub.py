"""The service's methods as callables of messages, and the channel's settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import grpc
import grpc.experimental

from . import wire
from .errors import ShadowkeepError, from_rpc
from .parts import open_run_parts
from .proxies import host_of, is_loopback, proxy_of

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

# Codes that the transport answers with, when the service has not.
_TRANSPORT_CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL"})

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
        target: where the service is.
        timeout: deadline of the unary calls, seconds.
    """

    def __init__(self, target: str, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        # Channels with the same options share a connection, also a forked child's with those that it inherits, of which
        # gRPC does not always notice that they are of no use there.
        own: tuple[tuple[str, int], ...] = (("shadowkeep.process", os.getpid()),)
        if is_loopback(target):
            # A proxy's "this machine" is another one.
            own += (("grpc.enable_http_proxy", 0),)
        self._channel = channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS + own)
        self._open_run = self._unary("OpenRun", wire.OpenRunRequest, wire.OpenRunResponse)
        self.get_run = self._unary("GetRun", wire.GetRunRequest, wire.RunInfo)
        self.list_runs = self._unary("ListRuns", wire.ListRunsRequest, wire.ListRunsResponse)
        self.delete_run = self._unary("DeleteRun", wire.DeleteRunRequest, wire.DeleteRunResponse)
        self.add_average = self._unary("AddAverage", wire.AddAverageRequest, wire.AddAverageResponse)
        self.remove_average = self._unary("RemoveAverage", wire.RemoveAverageRequest, wire.RemoveAverageResponse)
        self._get_shadow = self._server_stream("GetShadow", wire.GetShadowResponse)
        self._watch_run = self._server_stream("WatchRun", wire.RunEvent)
        self._open_run_in_parts = channel.stream_unary(
            SERVICE + "OpenRunInParts",
            request_serializer=wire.OpenRunRequest.encode,
            response_deserializer=wire.OpenRunResponse.decode,
        )
        self._update = channel.stream_stream(
            SERVICE + "Update",
            request_serializer=_identity,
            response_deserializer=wire.UpdateResponse.decode,
        )

    def close(self) -> None:
        """Close the channel. Waits for its streams, which a network that stalls holds up."""
        self._channel.close()

    def failure(self, error: grpc.RpcError) -> ShadowkeepError:
        """Return the error of a failed call; what the transport says of itself does not tell where it wanted to go."""
        failure = from_rpc(error)
        if failure.code not in _TRANSPORT_CODES or failure.reason != failure.code:
            return failure
        proxy = proxy_of(self._target)
        place = f"the service is looked for at {self._target}"
        if proxy is not None:
            place += (
                f", through the proxy {proxy.address} of the environment's {proxy.variable}: "
                f"no_proxy={host_of(self._target)} goes round it"
            )
        return type(failure)(f"{failure.message or failure.code.lower()} ({place})", code=failure.code)

    def open_run(self, request: wire.OpenRunRequest) -> wire.OpenRunResponse:
        """Open a run; a layout that is too large for one message goes in parts."""
        parts = list(open_run_parts(request))
        if len(parts) == 1:
            return self._open_run(request)
        try:
            response: wire.OpenRunResponse = self._open_run_in_parts(iter(parts), timeout=self._timeout)
        except grpc.RpcError as error:
            raise self.failure(error) from None
        return response

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
                raise self.failure(error) from None

        return invoke

    def _server_stream(self, method: str, response: type[wire.Message]) -> Callable[[wire.Message], Any]:
        return self._channel.unary_stream(
            SERVICE + method, request_serializer=wire.Message.encode, response_deserializer=response.decode
        )


def _identity(message: bytes) -> bytes:
    return message
