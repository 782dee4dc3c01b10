"""Requests and responses of OpenRun and Update; field meanings are in the proto's comments."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Buffer, Message, field
from .enums import DType, NonFinite, StepState
from .types import Average, Box, PolicyRule, Retention, Snapshots, Tensor


@dataclass(slots=True)
class OpenRunRequest(Message):
    """Create a run or attach to it."""

    run: str = field(1, "string")
    tensors: list[Tensor] = field(2, "message", Tensor, repeated=True)
    averages: list[Average] = field(3, "message", Average, repeated=True)
    writers: int = field(4, "uint64")
    incarnation: str = field(5, "string")
    non_finite: NonFinite = field(6, "enum", NonFinite)
    resume_step: int | None = field(7, "uint64", optional=True)
    policies: list[PolicyRule] = field(8, "message", PolicyRule, repeated=True)
    snapshots: Snapshots | None = field(9, "message", Snapshots)
    retain: Retention | None = field(10, "message", Retention)
    trainer_step: int | None = field(11, "uint64", optional=True)


@dataclass(slots=True)
class Limits(Message):
    """Bytes and milliseconds that a writer keeps to."""

    chunk_bytes_max: int = field(1, "uint64")
    chunk_bytes: int = field(2, "uint64")
    step_timeout_ms: int = field(3, "uint64")
    reconnect_grace_ms: int = field(4, "uint64")


@dataclass(slots=True)
class OpenRunResponse(Message):
    """Where the run stands."""

    run: str = field(1, "string")
    generation: int = field(2, "uint64")
    created: bool = field(3, "bool")
    committed_step: int | None = field(4, "uint64", optional=True)
    durable_step: int | None = field(5, "uint64", optional=True)
    limits: Limits | None = field(6, "message", Limits)
    step_bytes: int = field(7, "uint64")
    first_step_bytes: int = field(8, "uint64")
    writers: int = field(9, "uint64")
    retained_steps: list[int] = field(10, "uint64", repeated=True)
    first_generation: int | None = field(11, "uint64", optional=True)
    answered_step: int | None = field(12, "uint64", optional=True)
    tensor_order: list[int] = field(21, "uint64", repeated=True)


@dataclass(slots=True)
class UpdateOpen(Message):
    """First message of a writer's stream."""

    run: str = field(1, "string")
    generation: int = field(2, "uint64")
    writer: int = field(3, "uint64")
    boxes: list[Box] = field(4, "message", Box, repeated=True)
    wire_dtype: DType = field(5, "enum", DType)
    takeover: bool = field(6, "bool")
    session: str = field(7, "string")


@dataclass(slots=True)
class Chunk(Message):
    """A piece of a step's bytes; written by `framing` when it is sent."""

    step: int = field(1, "uint64")
    offset: int = field(2, "uint64")
    crc32c: int | None = field(3, "fixed32", optional=True)
    data: Buffer = field(15, "bytes")


@dataclass(slots=True)
class Commit(Message):
    """End of a step."""

    step: int = field(1, "uint64")
    bytes: int = field(2, "uint64")
    initial: bool = field(3, "bool")
    skipped: bool = field(4, "bool")


@dataclass(slots=True)
class Lost(Message):
    """Steps that will not come."""

    through: int = field(1, "uint64")


@dataclass(slots=True)
class UpdateRequest(Message):
    """What a writer sends: one of the four."""

    open: UpdateOpen | None = field(1, "message", UpdateOpen)
    chunk: Chunk | None = field(2, "message", Chunk)
    commit: Commit | None = field(3, "message", Commit)
    lost: Lost | None = field(4, "message", Lost)


@dataclass(slots=True)
class UpdateOpened(Message):
    """Answer to `UpdateOpen`."""

    step_bytes: int = field(1, "uint64")
    committed_step: int | None = field(2, "uint64", optional=True)
    durable_step: int | None = field(3, "uint64", optional=True)
    first_step_bytes: int = field(4, "uint64")
    step: int | None = field(5, "uint64", optional=True)
    received_bytes: int = field(6, "uint64")
    whole: bool = field(7, "bool")
    left_out: list[int] = field(8, "uint64", repeated=True)


@dataclass(slots=True)
class Ack(Message):
    """Answer to `Commit`."""

    step: int = field(1, "uint64")
    state: StepState = field(2, "enum", StepState)
    committed_step: int | None = field(3, "uint64", optional=True)
    durable_step: int | None = field(4, "uint64", optional=True)
    detail: str = field(5, "string")
    lost_by: int | None = field(6, "uint64", optional=True)


@dataclass(slots=True)
class UpdateResponse(Message):
    """What a writer gets: one of the two."""

    opened: UpdateOpened | None = field(1, "message", UpdateOpened)
    ack: Ack | None = field(2, "message", Ack)
