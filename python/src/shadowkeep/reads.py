"""How a shadow is received, and how a read that breaks goes on: in the same version, from the byte where it ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import numpy as np

from . import wire
from .backoff import Backoff, is_transient
from .dtypes import item_bytes
from .errors import DataLossError, InternalError, ShadowkeepError, from_rpc
from .shadow import Shadow
from .stub import StreamCall

# Starts a read.
StartRead = Callable[[wire.GetShadowRequest], StreamCall]


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
        first = next(responses, None)
        if first is None or first.header is None:
            raise InternalError("the read does not begin with a header")
        shadow = self._begin(first.header)
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
    start: StartRead, request: wire.GetShadowRequest, reception: Reception, reconnect_timeout: float
) -> Shadow:
    """Receive a shadow; what breaks the connection is raised when no attempt within `reconnect_timeout` s went on."""
    backoff: Backoff | None = None
    while True:
        before = reception.received
        try:
            return _receive(start(reception.rest_of(request)), reception)
        except ShadowkeepError as failure:
            if backoff is None or reception.received > before:
                backoff = Backoff(reconnect_timeout)
            if reception.shadow is None or not is_transient(failure) or not backoff.pause():
                raise


def _receive(call: StreamCall, reception: Reception) -> Shadow:
    try:
        return reception.take(iter(call))
    except grpc.RpcError as error:
        raise from_rpc(error) from None
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
