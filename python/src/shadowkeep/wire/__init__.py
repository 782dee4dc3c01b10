"""The wire: messages of `proto/shadowkeep/v1` as dataclasses, and the framing of chunks."""

from .codec import Message
from .enums import DecayUnit, DelayMode, DType, IndexUnit, NonFinite, Policy, Start, StepState
from .framing import Bytes1D, Checksum, chunk_message
from .messages import (
    Ack,
    Chunk,
    Commit,
    Limits,
    Lost,
    OpenRunRequest,
    OpenRunResponse,
    UpdateOpen,
    UpdateOpened,
    UpdateRequest,
    UpdateResponse,
)
from .reads import (
    Contribution,
    GetShadowRequest,
    GetShadowResponse,
    Resume,
    ShadowChunk,
    ShadowEnd,
    ShadowHeader,
    ShadowTensor,
    ShadowTensors,
)
from .runs import (
    AddAverageRequest,
    AddAverageResponse,
    AverageState,
    DamagedRun,
    DeleteRunRequest,
    DeleteRunResponse,
    GetRunRequest,
    ListRunsRequest,
    ListRunsResponse,
    Memory,
    RemoveAverageRequest,
    RemoveAverageResponse,
    RunEvent,
    RunInfo,
    Snapshot,
    WatchRunRequest,
    WriterState,
)
from .status import ErrorInfo, Status
from .types import (
    AnnealedMomentum,
    Average,
    Box,
    ConstantDecay,
    Cosine,
    ExponentialRamp,
    HalfLife,
    HalfLifeFraction,
    HalfLifeRampUp,
    InversePower,
    Mean,
    Movement,
    PolicyRule,
    PowerFunction,
    RatioWarmup,
    Retention,
    Snapshots,
    Tensor,
)

__all__ = [
    "Ack", "AddAverageRequest", "AddAverageResponse", "AnnealedMomentum", "Average", "AverageState", "Box", "Bytes1D",
    "Checksum", "Chunk", "Commit", "ConstantDecay", "Contribution", "Cosine", "DType", "DamagedRun", "DecayUnit",
    "DelayMode", "DeleteRunRequest", "DeleteRunResponse", "ErrorInfo", "ExponentialRamp", "GetRunRequest",
    "GetShadowRequest", "GetShadowResponse", "HalfLife", "HalfLifeFraction", "HalfLifeRampUp", "IndexUnit",
    "InversePower", "Limits", "ListRunsRequest", "ListRunsResponse", "Lost", "Mean", "Memory", "Message", "Movement",
    "NonFinite", "OpenRunRequest", "OpenRunResponse", "Policy", "PolicyRule", "PowerFunction", "RatioWarmup",
    "RemoveAverageRequest", "RemoveAverageResponse", "Resume", "Retention", "RunEvent", "RunInfo", "ShadowChunk",
    "ShadowEnd", "ShadowHeader", "ShadowTensor", "ShadowTensors", "Snapshot", "Snapshots", "Start", "Status",
    "StepState", "Tensor", "UpdateOpen", "UpdateOpened", "UpdateRequest", "UpdateResponse", "WatchRunRequest",
    "WriterState", "chunk_message",
]  # fmt: skip
