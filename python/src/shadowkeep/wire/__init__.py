"""The wire: messages of `proto/shadowkeep/v1` as dataclasses, and the framing of chunks."""

from .codec import Message
from .enums import DecayUnit, DelayMode, DType, NonFinite, Policy, Start, StepState
from .framing import Bytes1D, Checksum, chunk_message
from .messages import (
    Ack,
    Chunk,
    Commit,
    GetShadowRequest,
    GetShadowResponse,
    Limits,
    OpenRunRequest,
    OpenRunResponse,
    Resume,
    ShadowChunk,
    ShadowEnd,
    ShadowHeader,
    ShadowTensor,
    UpdateOpen,
    UpdateOpened,
    UpdateRequest,
    UpdateResponse,
)
from .runs import (
    AverageState,
    DeleteRunRequest,
    DeleteRunResponse,
    GetRunRequest,
    ListRunsRequest,
    ListRunsResponse,
    Memory,
    RunEvent,
    RunInfo,
    WatchRunRequest,
)
from .status import ErrorInfo, Status
from .types import Average, Box, ConstantDecay, Mean, Tensor

__all__ = [
    "Ack", "Average", "AverageState", "Box", "Bytes1D", "Checksum", "Chunk", "Commit", "ConstantDecay", "DType",
    "DecayUnit", "DelayMode", "DeleteRunRequest", "DeleteRunResponse", "ErrorInfo", "GetRunRequest",
    "GetShadowRequest", "GetShadowResponse", "Limits", "ListRunsRequest", "ListRunsResponse", "Mean", "Memory",
    "Message", "NonFinite", "OpenRunRequest", "OpenRunResponse", "Policy", "Resume", "RunEvent", "RunInfo",
    "ShadowChunk", "ShadowEnd", "ShadowHeader", "ShadowTensor", "Start", "Status", "StepState", "Tensor",
    "UpdateOpen", "UpdateOpened", "UpdateRequest", "UpdateResponse", "WatchRunRequest", "chunk_message",
]  # fmt: skip
