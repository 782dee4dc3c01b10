"""The messages about runs as a whole: watching, describing, listing, deleting."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Message, field
from .types import Average, Tensor


@dataclass(slots=True)
class WatchRunRequest(Message):
    """Follow a run's commits."""

    run: str = field(1, "string")
    every: int = field(2, "uint64")


@dataclass(slots=True)
class AverageState(Message):
    """How far an average is; `weight` is w_k of the last folded update, None before it."""

    name: str = field(1, "string")
    num_updates: int = field(2, "uint64")
    weight: float | None = field(3, "double", optional=True)


@dataclass(slots=True)
class RunEvent(Message):
    """A commit; the steps are None before the first one."""

    run: str = field(1, "string")
    generation: int = field(2, "uint64")
    committed_step: int | None = field(3, "uint64", optional=True)
    durable_step: int | None = field(4, "uint64", optional=True)
    averages: list[AverageState] = field(5, "message", AverageState, repeated=True)


@dataclass(slots=True)
class GetRunRequest(Message):
    """Describe one run."""

    run: str = field(1, "string")


@dataclass(slots=True)
class ListRunsRequest(Message):
    """List all runs."""


@dataclass(slots=True)
class DeleteRunRequest(Message):
    """Delete one run."""

    run: str = field(1, "string")


@dataclass(slots=True)
class DeleteRunResponse(Message):
    """What the deletion gave back."""

    freed_bytes: int = field(1, "uint64")


@dataclass(slots=True)
class Memory(Message):
    """Bytes held by a run, and the server's budget."""

    shadow_bytes: int = field(1, "uint64")
    staging_bytes: int = field(2, "uint64")
    pinned_bytes: int = field(3, "uint64")
    free_bytes: int = field(4, "uint64")
    budget_bytes: int = field(5, "uint64")
    budget_free_bytes: int = field(6, "uint64")


@dataclass(slots=True)
class RunInfo(Message):
    """State, sizes and rates of a run (the proto's message `Run`)."""

    run: str = field(1, "string")
    generation: int = field(2, "uint64")
    committed_step: int | None = field(3, "uint64", optional=True)
    durable_step: int | None = field(4, "uint64", optional=True)
    tensors: list[Tensor] = field(5, "message", Tensor, repeated=True)
    averages: list[Average] = field(6, "message", Average, repeated=True)
    states: list[AverageState] = field(7, "message", AverageState, repeated=True)
    tensor_count: int = field(8, "uint64")
    averaged_elements: int = field(9, "uint64")
    memory: Memory | None = field(10, "message", Memory)
    writers_connected: int = field(11, "uint64")
    readers_connected: int = field(12, "uint64")
    staging_step: int | None = field(13, "uint64", optional=True)
    staging_bytes: int = field(14, "uint64")
    commits: int = field(15, "uint64")
    bytes_received: int = field(16, "uint64")
    bytes_sent: int = field(17, "uint64")
    commits_per_second: float = field(18, "double")
    received_bytes_per_second: float = field(19, "double")
    since_commit_ms: int | None = field(20, "uint64", optional=True)


@dataclass(slots=True)
class ListRunsResponse(Message):
    """All runs, in the order of their names."""

    runs: list[RunInfo] = field(1, "message", RunInfo, repeated=True)
