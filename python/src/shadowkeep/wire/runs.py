"""The messages about runs as a whole: watching, describing, listing, changing, deleting."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Message, field
from .enums import NonFinite
from .types import Average, Movement, Retention, Snapshots, Tensor


@dataclass(slots=True)
class WatchRunRequest(Message):
    """Follow a run's commits."""

    run: str = field(1, "string")
    every: int = field(2, "uint64")


@dataclass(slots=True)
class AverageState(Message):
    """How far an average is; `weight` and `movement` are of the last folded update, None before it."""

    name: str = field(1, "string")
    num_updates: int = field(2, "uint64")
    weight: float | None = field(3, "double", optional=True)
    movement: Movement | None = field(4, "message", Movement)
    added_at_step: int | None = field(5, "uint64", optional=True)


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
    first_tensor: int = field(2, "uint64")


@dataclass(slots=True)
class ListRunsRequest(Message):
    """List the runs after one."""

    after: str = field(1, "string")


@dataclass(slots=True)
class AddAverageRequest(Message):
    """Give a run another average."""

    run: str = field(1, "string")
    average: Average | None = field(2, "message", Average)


@dataclass(slots=True)
class AddAverageResponse(Message):
    """The newest step that it knows nothing of."""

    added_at_step: int | None = field(1, "uint64", optional=True)


@dataclass(slots=True)
class RemoveAverageRequest(Message):
    """Take an average from a run."""

    run: str = field(1, "string")
    average: str = field(2, "string")


@dataclass(slots=True)
class RemoveAverageResponse(Message):
    """It is gone."""


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
    snapshot_bytes: int = field(7, "uint64")
    layout_bytes: int = field(8, "uint64")


@dataclass(slots=True)
class Snapshot(Message):
    """One kept state of a power-function average."""

    average: str = field(1, "string")
    step: int = field(2, "uint64")
    bytes: int = field(3, "uint64")


@dataclass(slots=True)
class WriterState(Message):
    """How far one writer is; the steps are None where there is none in this generation."""

    writer: int = field(1, "uint64")
    connected: bool = field(2, "bool")
    step: int | None = field(3, "uint64", optional=True)
    receiving_step: int | None = field(4, "uint64", optional=True)
    received_bytes: int = field(5, "uint64")
    step_bytes: int = field(6, "uint64")
    lag_steps: int = field(7, "uint64")
    lag_ms: int = field(8, "uint64")


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
    non_finite_steps: int = field(21, "uint64")
    non_finite: NonFinite = field(22, "enum", NonFinite)
    snapshots: Snapshots | None = field(23, "message", Snapshots)
    snapshots_held: list[Snapshot] = field(24, "message", Snapshot, repeated=True)
    writers: int = field(25, "uint64")
    writer_states: list[WriterState] = field(26, "message", WriterState, repeated=True)
    retained_steps: list[int] = field(27, "uint64", repeated=True)
    retain: Retention | None = field(28, "message", Retention)
    run_id: int = field(31, "uint64")
    first_generation: int | None = field(32, "uint64", optional=True)


@dataclass(slots=True)
class DamagedRun(Message):
    """A run whose files the service cannot read, and what is wrong with them."""

    run: str = field(1, "string")
    problem: str = field(2, "string")


@dataclass(slots=True)
class ListRunsResponse(Message):
    """Runs, in the order of their names, and those that are set aside."""

    runs: list[RunInfo] = field(1, "message", RunInfo, repeated=True)
    more: bool = field(2, "bool")
    damaged: list[DamagedRun] = field(3, "message", DamagedRun, repeated=True)
