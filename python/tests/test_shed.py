"""A service that has no room for a stream, or ends one to make room: the client comes back, as after a break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest

import shadowkeep
from shadowkeep import Average, Client, wire
from shadowkeep.errors import DETAILS_KEY
from shadowkeep.stub import SERVICE
from shadowkeep.wire.status import Any as AnyMessage
from shadowkeep.wire.status import ErrorInfo, Status

MADE_ROOM = ["TRANSPORT_EXHAUSTED", "TOO_MANY_CONNECTIONS"]
NO_ROOM = ["MEMORY_EXHAUSTED", "TOO_MANY_RUNS"]
MEAN = [Average.mean("mean")]
WEIGHTS = {"w": np.ones(1 << 20, np.float32)}
STEP_BYTES = 4 << 20


def refuse(context: grpc.ServicerContext, reason: str) -> None:
    info = AnyMessage("type.googleapis.com/google.rpc.ErrorInfo", ErrorInfo(reason, "shadowkeep.dev").encode())
    context.set_trailing_metadata(((DETAILS_KEY, Status(8, "no room", [info]).encode()),))
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")


class Peer(grpc.GenericRpcHandler):
    """A service that refuses the first call of a method with a reason.

    Attributes:
        calls: how often each method was called.
        takeovers: what the openings of streams said.
        kinds: of the messages of each stream.
    """

    def __init__(self, method: str, reason: str, after_messages: int = 0) -> None:
        self._method = method
        self._reason = reason
        self._after_messages = after_messages
        self.calls: dict[str, int] = {}
        self.takeovers: list[bool] = []
        self.kinds: list[list[str]] = []

    def service(self, details: Any) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = details.method.removeprefix(SERVICE)
        self.calls[method] = self.calls.get(method, 0) + 1
        reason = self._reason if method == self._method and self.calls[method] == 1 else None
        if method == "Update":
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._update(requests, context, reason)
            )
        if method in ("GetShadow", "WatchRun"):
            return grpc.unary_stream_rpc_method_handler(lambda _, context: self._read(context, reason))
        return grpc.unary_unary_rpc_method_handler(lambda _, context: self._answer(method, context, reason))

    def _answer(self, method: str, context: grpc.ServicerContext, reason: str | None) -> bytes:
        if reason is not None:
            refuse(context, reason)
        return wire.OpenRunResponse("r", 1, writers=1).encode() if method == "OpenRun" else b""

    def _read(self, context: grpc.ServicerContext, reason: str | None) -> Iterator[bytes]:
        if reason is not None:
            refuse(context, reason)
        context.abort(grpc.StatusCode.NOT_FOUND, "it is asked")
        yield b""

    def _update(self, requests: Iterator[bytes], context: grpc.ServicerContext, reason: str | None) -> Iterator[bytes]:
        kinds: list[str] = []
        self.kinds.append(kinds)
        for count, message in enumerate(requests):
            request = wire.UpdateRequest.decode(message)
            kinds += [kind for kind in ("open", "lost", "chunk", "commit") if getattr(request, kind) is not None]
            if request.open is not None:
                self.takeovers.append(request.open.takeover)
            if reason is not None and count == self._after_messages:
                refuse(context, reason)
            if request.open is not None:
                yield wire.UpdateResponse(opened=wire.UpdateOpened(STEP_BYTES, first_step_bytes=STEP_BYTES)).encode()
            if request.commit is not None:
                step = request.commit.step
                yield wire.UpdateResponse(ack=wire.Ack(step, wire.StepState.COMMITTED, step)).encode()


@contextmanager
def connected_to(peer: Peer) -> Iterator[Client]:
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((peer,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with shadowkeep.connect(f"127.0.0.1:{port}") as client:
        yield client
    server.stop(None)


@pytest.mark.parametrize("reason", MADE_ROOM)
@pytest.mark.parametrize("after_messages", [0, 1, 3, 5])
def test_a_writer_comes_back(reason: str, after_messages: int) -> None:
    """At its opening, in the middle of a step, and where the ack was due."""
    peer = Peer("Update", reason, after_messages)
    with connected_to(peer) as client:
        with client.open_run("r", WEIGHTS, MEAN) as run:
            run.update(1, WEIGHTS)
            run.flush()
            assert run.committed_step == 1
        assert peer.takeovers == [False, True]


@pytest.mark.parametrize("after_messages", [1, 2, 6])
def test_what_was_lost_is_said_again(after_messages: int) -> None:
    """Where it is said, in the middle of the step behind it, and when that has been pushed."""
    peer = Peer("Update", MADE_ROOM[0], after_messages)
    with connected_to(peer) as client, client.open_run("r", WEIGHTS, MEAN) as run:
        run.lose(6)
        run.update(8, WEIGHTS)
        run.flush()
        run.update(9, WEIGHTS)
        run.flush()
        assert run.committed_step == 9
    whole = ["chunk"] * 4 + ["commit"]
    assert peer.kinds[-1] == ["open", "lost", *whole, *whole]


UNARY: dict[str, Callable[[Client], Any]] = {
    "OpenRun": lambda client: client.open_run("r", WEIGHTS, MEAN).abandon(),
    "GetRun": lambda client: client.get_run("r"),
    "ListRuns": lambda client: client.list_runs(),
}


@pytest.mark.parametrize("reason", MADE_ROOM)
@pytest.mark.parametrize("method", UNARY)
def test_a_call_is_made_again(reason: str, method: str) -> None:
    peer = Peer(method, reason)
    with connected_to(peer) as client:
        UNARY[method](client)
    assert peer.calls[method] == 2


@pytest.mark.parametrize("reason", MADE_ROOM)
def test_a_read_and_a_watch_begin_again(reason: str) -> None:
    peer = Peer("GetShadow", reason)
    with connected_to(peer) as client, pytest.raises(shadowkeep.NotFoundError):
        client.get_shadow("r")
    assert peer.calls["GetShadow"] == 2
    peer = Peer("WatchRun", reason)
    with connected_to(peer) as client, pytest.raises(shadowkeep.NotFoundError):
        next(client.watch_run("r"))
    assert peer.calls["WatchRun"] == 2


@pytest.mark.parametrize("reason", NO_ROOM)
@pytest.mark.parametrize("method", UNARY)
def test_memory_that_is_not_there_is_an_error_at_once(reason: str, method: str) -> None:
    peer = Peer(method, reason)
    with connected_to(peer) as client, pytest.raises(shadowkeep.ResourceExhaustedError) as raised:
        UNARY[method](client)
    assert raised.value.reason == reason
    assert peer.calls[method] == 1


def test_memory_that_is_not_there_ends_a_stream() -> None:
    peer = Peer("Update", "MEMORY_EXHAUSTED", 1)
    with connected_to(peer) as client:
        run = client.open_run("r", WEIGHTS, MEAN)
        with pytest.raises(shadowkeep.ResourceExhaustedError):
            run.push_space(1, WEIGHTS["w"].view(np.uint8), until_acked=True)
        run.abandon()
    assert peer.takeovers == [False]
