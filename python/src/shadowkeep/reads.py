"""How a shadow is received, and how a read that breaks goes on: in the same version, from the byte where it ended."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Generator, Iterator
from dataclasses import replace

import grpc
import numpy as np

from . import wire
from .apart import apart, in_background
from .connection import Connection, Patience
from .dtypes import item_bytes
from .errors import DataLossError, InternalError, ShadowkeepError
from .parts import take_header
from .shadow import Shadow


class Reception:
    """A shadow as it comes: one header, chunks in rising offset, one end, on one stream or on several.

    Attributes:
        shadow: the weights; None before the header.
        received: bytes that have come.
    """

    def __init__(self, checksum: wire.Checksum | None, reuse: Shadow | None = None) -> None:
        self.shadow: Shadow | None = None
        self.received = 0
        self._checksum = checksum
        self._reuse = reuse

    def take(self, responses: Iterator[wire.GetShadowResponse]) -> Shadow:
        """Take what a stream brings; return the shadow when it is whole."""
        shadow = self._begin(take_header(responses))
        for response in responses:
            if response.chunk is not None:
                self._take_chunk(shadow, response.chunk)
        if self.received != shadow.buffer.nbytes:
            raise DataLossError(f"the read ended after {self.received} of {shadow.buffer.nbytes} bytes")
        return shadow

    def rest_of(self, request: wire.GetShadowRequest) -> wire.GetShadowRequest:
        """Return the request for what has not come yet."""
        if self.shadow is None:
            return request
        resume = wire.Resume(self.shadow.version, self.received)
        return replace(request, step=None, min_step=None, resume=resume)

    def _begin(self, header: wire.ShadowHeader) -> Shadow:
        if self.shadow is None:
            self.shadow = Shadow(header, self._reuse)
            _check_places(self.shadow)
        elif (header.version, header.total_bytes) != (self.shadow.version, self.shadow.buffer.nbytes):
            raise InternalError(
                f"version {self.shadow.version} of {self.shadow.buffer.nbytes} bytes was to be resumed, "
                f"got {header.version} of {header.total_bytes}"
            )
        return self.shadow

    def _take_chunk(self, shadow: Shadow, chunk: wire.ShadowChunk) -> None:
        data = np.frombuffer(chunk.data, np.uint8)
        end = self.received + len(data)
        if chunk.offset != self.received or end > shadow.buffer.nbytes:
            raise InternalError(
                f"chunk at offset {chunk.offset} of {len(data)} bytes, expected at {self.received} of "
                f"{shadow.buffer.nbytes}"
            )
        if self._checksum is not None and chunk.crc32c is not None and self._checksum(data, 0) != chunk.crc32c:
            raise DataLossError(f"crc32c of the chunk at offset {self.received} differs", reason="CRC_MISMATCH")
        shadow.buffer[self.received : end] = data
        self.received = end


def read_shadow(
    connection: Connection, request: wire.GetShadowRequest, reception: Reception, reconnect_timeout: float
) -> Shadow:
    """Receive a shadow; what breaks the connection is raised when no attempt within `reconnect_timeout` s went on."""
    patience = Patience(connection.target, reconnect_timeout)
    until = time.monotonic() + request.wait_ms / 1000
    while True:
        before = reception.received
        try:
            return _receive(connection, reception.rest_of(request), reception)
        except ShadowkeepError as failure:
            if not patience.waits(failure, progress=reception.received > before):
                raise
            request = replace(request, wait_ms=max(0, round((until - time.monotonic()) * 1000)))


def _receive(connection: Connection, request: wire.GetShadowRequest, reception: Reception) -> Shadow:
    stub = connection.stub()
    try:
        call = stub.get_shadow(request)
        try:
            return reception.take(iter(call))
        except grpc.RpcError as error:
            raise stub.failure(error) from None
        finally:
            call.cancel()
    except ShadowkeepError:
        raise
    except BaseException as interrupt:
        # In the middle of grpcio, perhaps. Its frames may hold a lock of the whole process, as long as they are kept.
        connection.replace()
        traceback.clear_frames(interrupt.__traceback__)
        raise


def watch_run(
    connection: Connection, request: wire.WatchRunRequest, reconnect_timeout: float
) -> Generator[wire.RunEvent, None, None]:
    """Yield a run's present state and its commits; after a break go on with the state that it has then."""
    patience = Patience(connection.target, reconnect_timeout)
    last: wire.RunEvent | None = None
    while True:
        came = False
        events = _events(connection, request)
        try:
            while (event := apart(lambda events=events: next(events, None))) is not None:  # type: ignore[misc]
                is_known = not came and last is not None and event.committed_step == last.committed_step
                came, last = True, event
                if not is_known:
                    yield event
            return
        except ShadowkeepError as failure:
            if not patience.waits(failure, progress=came):
                raise
        finally:
            in_background(events.close)


def _events(connection: Connection, request: wire.WatchRunRequest) -> Generator[wire.RunEvent, None, None]:
    stub = connection.stub()
    call = stub.watch_run(request)
    try:
        yield from call
    except grpc.RpcError as error:
        raise stub.failure(error) from None
    finally:
        call.cancel()


def _check_places(shadow: Shadow) -> None:
    for spec in shadow.specs:
        known = isinstance(spec.dtype, wire.DType) and spec.dtype != wire.DType.UNSPECIFIED
        if not known or spec.offset + math.prod(spec.shape) * item_bytes(spec.dtype) > shadow.buffer.nbytes:
            raise InternalError(
                f"tensor {spec.name!r} of dtype {spec.dtype!r} and shape {spec.shape} at offset {spec.offset} "
                f"does not fit into {shadow.buffer.nbytes} bytes"
            )
