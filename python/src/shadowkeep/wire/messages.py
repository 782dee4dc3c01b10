"""Requests and responses of OpenRun, Update and GetShadow; field meanings are in the proto's comments."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Buffer, Message, field
from .enums import DType, NonFinite, StepState
from .types import Average, Box, Tensor


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


@dataclass(slots=True)
class Limits(Message):
    """Bytes and milliseconds that a writer keeps to."""

    chunk_bytes_max: int = field(1, "uint64")
    chunk_bytes: int = field(2, "uint64")
    step_timeout_ms: int = field(3, "uint64")


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


@dataclass(slots=True)
class UpdateOpen(Message):
    """First message of a writer's stream."""

    run: str = field(1, "string")
    generation: int = field(2, "uint64")
    writer: int = field(3, "uint64")
    boxes: list[Box] = field(4, "message", Box, repeated=True)
    wire_dtype: DType = field(5, "enum", DType)


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
class UpdateRequest(Message):
    """What a writer sends: one of the three."""

    open: UpdateOpen | None = field(1, "message", UpdateOpen)
    chunk: Chunk | None = field(2, "message", Chunk)
    commit: Commit | None = field(3, "message", Commit)


@dataclass(slots=True)
class UpdateOpened(Message):
    """Answer to `UpdateOpen`."""

    step_bytes: int = field(1, "uint64")
    committed_step: int | None = field(2, "uint64", optional=True)
    durable_step: int | None = field(3, "uint64", optional=True)


@dataclass(slots=True)
class Ack(Message):
    """Answer to `Commit`."""

    step: int = field(1, "uint64")
    state: StepState = field(2, "enum", StepState)
    committed_step: int | None = field(3, "uint64", optional=True)
    durable_step: int | None = field(4, "uint64", optional=True)


@dataclass(slots=True)
class UpdateResponse(Message):
    """What a writer gets: one of the two."""

    opened: UpdateOpened | None = field(1, "message", UpdateOpened)
    ack: Ack | None = field(2, "message", Ack)


@dataclass(slots=True)
class Resume(Message):
    """Where to go on with a broken read."""

    version: int = field(1, "uint64")
    offset: int = field(2, "uint64")


@dataclass(slots=True)
class GetShadowRequest(Message):
    """Which weights to read, and how."""

    run: str = field(1, "string")
    average: str = field(2, "string")
    step: int | None = field(3, "uint64", optional=True)
    min_step: int | None = field(4, "uint64", optional=True)
    resume: Resume | None = field(5, "message", Resume)
    wait_ms: int = field(6, "uint64")
    names: list[str] = field(7, "string", repeated=True)
    boxes: list[Box] = field(8, "message", Box, repeated=True)
    dtype: DType = field(9, "enum", DType)
    chunk_bytes: int = field(10, "uint64")
    checksums: bool = field(11, "bool")
    sigma_rel: float | None = field(12, "double", optional=True)


@dataclass(slots=True)
class ShadowTensor(Message):
    """One tensor of a read."""

    name: str = field(1, "string")
    dtype: DType = field(2, "enum", DType)
    shape: list[int] = field(3, "uint64", repeated=True)
    offset: int = field(4, "uint64")
    averaged: bool = field(5, "bool")


@dataclass(slots=True)
class ShadowHeader(Message):
    """First message of a read."""

    run: str = field(1, "string")
    average: str = field(2, "string")
    step: int = field(3, "uint64")
    num_updates: int = field(4, "uint64")
    generation: int = field(5, "uint64")
    weight: float = field(6, "double")
    version: int = field(7, "uint64")
    tensors: list[ShadowTensor] = field(8, "message", ShadowTensor, repeated=True)
    total_bytes: int = field(9, "uint64")
    durable_step: int | None = field(10, "uint64", optional=True)


@dataclass(slots=True)
class ShadowChunk(Message):
    """A piece of a read's bytes."""

    offset: int = field(1, "uint64")
    crc32c: int | None = field(2, "fixed32", optional=True)
    data: Buffer = field(15, "bytes")


@dataclass(slots=True)
class ShadowEnd(Message):
    """Last message of a read."""

    total_bytes: int = field(1, "uint64")


@dataclass(slots=True)
class GetShadowResponse(Message):
    """What a reader gets: one of the three."""

    header: ShadowHeader | None = field(1, "message", ShadowHeader)
    chunk: ShadowChunk | None = field(2, "message", ShadowChunk)
    end: ShadowEnd | None = field(3, "message", ShadowEnd)
