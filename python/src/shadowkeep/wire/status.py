"""The google.rpc messages that every error of the service carries in `grpc-status-details-bin`."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Buffer, Message, field


@dataclass(slots=True)
class Any(Message):
    """google.protobuf.Any."""

    type_url: str = field(1, "string")
    value: Buffer = field(2, "bytes")


@dataclass(slots=True)
class Status(Message):
    """google.rpc.Status."""

    code: int = field(1, "int64")
    message: str = field(2, "string")
    details: list[Any] = field(3, "message", Any, repeated=True)


@dataclass(slots=True)
class ErrorInfo(Message):
    """google.rpc.ErrorInfo."""

    reason: str = field(1, "string")
    domain: str = field(2, "string")
    metadata: dict[str, str] = field(3, "map")
