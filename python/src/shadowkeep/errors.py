"""All failures are `ShadowkeepError`; its subclasses are the canonical gRPC codes, its `reason` is the service's own.

The reasons are those of `docs/errors.md`, for example RUN_NOT_FOUND or LAYOUT_MISMATCH. They travel in the
`grpc-status-details-bin` trailer as google.rpc.Status{details: [ErrorInfo{reason, domain, metadata}]}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import grpc

from .wire import ErrorInfo, Status

DOMAIN = "shadowkeep.dev"
DETAILS_KEY = "grpc-status-details-bin"
ERROR_INFO_SUFFIX = "/google.rpc.ErrorInfo"


class ShadowkeepError(Exception):
    """What the service or the connection to it answered.

    Attributes:
        message: what was wrong, which value, which bound.
        reason: the service's reason (docs/errors.md); the code's name when the transport failed.
        code: the canonical gRPC code's name, for example "NOT_FOUND".
        metadata: the values that the message speaks of, for programs.
    """

    CODE: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        code: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message
        self.code = code or self.CODE
        self.reason = reason or self.code
        self.metadata = dict(metadata or {})
        super().__init__(f"{self.reason}: {message}")

    def again(self) -> ShadowkeepError:
        """Return a copy to raise at another place, without the way that this one has come: it is the service's word."""
        copy = type(self)(self.message, reason=self.reason, code=self.code, metadata=self.metadata)
        # Leaves out what is being handled, too.
        copy.__cause__ = self.__cause__
        return copy


class InvalidArgumentError(ShadowkeepError):
    """The request is wrong by itself."""

    CODE = "INVALID_ARGUMENT"


class NotFoundError(ShadowkeepError):
    """There is no such run, average or version."""

    CODE = "NOT_FOUND"


class FailedPreconditionError(ShadowkeepError):
    """The request does not fit the run: another layout, other averages, no initial push yet."""

    CODE = "FAILED_PRECONDITION"


class AbortedError(ShadowkeepError):
    """A newer generation took over, the run was deleted, or the version was evicted."""

    CODE = "ABORTED"


class DataLossError(ShadowkeepError):
    """Bytes changed or went missing on the way."""

    CODE = "DATA_LOSS"


class ResourceExhaustedError(ShadowkeepError):
    """The service has no memory for it; the message says how much was asked, free and total."""

    CODE = "RESOURCE_EXHAUSTED"


class DeadlineExceededError(ShadowkeepError):
    """It did not happen in time."""

    CODE = "DEADLINE_EXCEEDED"


class UnavailableError(ShadowkeepError):
    """The service cannot be reached, or the connection broke."""

    CODE = "UNAVAILABLE"


class UnimplementedError(ShadowkeepError):
    """The service does not serve this field yet."""

    CODE = "UNIMPLEMENTED"


class InternalError(ShadowkeepError):
    """The other side broke the protocol, or has a bug."""

    CODE = "INTERNAL"


_BY_CODE: dict[str, type[ShadowkeepError]] = {error.CODE: error for error in ShadowkeepError.__subclasses__()}


def from_status(code: str, message: str, details: bytes | None) -> ShadowkeepError:
    """Build the error of a gRPC status; `details` is the value of the `grpc-status-details-bin` trailer."""
    info = _error_info(details) if details else None
    error = _BY_CODE.get(code, ShadowkeepError)
    if info is None:
        return error(message, code=code)
    return error(message, reason=info.reason, code=code, metadata=info.metadata)


def from_rpc(error: grpc.RpcError) -> ShadowkeepError:
    """Build the error of a failed call."""
    call: Any = error
    trailers = dict(call.trailing_metadata() or ())
    return from_status(call.code().name, call.details() or "", trailers.get(DETAILS_KEY))


def _error_info(details: bytes) -> ErrorInfo | None:
    try:
        for detail in Status.decode(details).details:
            if detail.type_url.endswith(ERROR_INFO_SUFFIX):
                return ErrorInfo.decode(detail.value)
    except ValueError:
        # A proxy's own trailer; the code and the text still say what is known.
        return None
    return None
