"""Shadowkeep: a service that holds shadow weights, so that trainers don't have to.

A trainer pushes its weights, an evaluator pulls their average, both of one exact step:

    client = shadowkeep.connect("127.0.0.1:50051")
    with client.open_run("my-run", tensors=weights, averages=[shadowkeep.Average.ema("ema", decay=0.999)]) as run:
        run.update(1, weights)
    shadow = client.get_shadow("my-run", min_step=1)
    shadow.step, shadow.num_updates, shadow.tensors["layer.weight"]

Averages by the names of the libraries that people come from: `shadowkeep.averages`. PyTorch users:
`shadowkeep.torch.EMA`.
"""

from . import _polling as _polling
from . import averages
from .averages import Average
from .boxes import Box
from .client import Client, connect
from .errors import (
    AbortedError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    ShadowkeepError,
    UnavailableError,
    UnimplementedError,
)
from .layout import Layout, TensorSpec
from .retention import Retention
from .run import Run
from .shadow import Shadow
from .snapshots import Snapshots
from .wire import (
    AverageState,
    Contribution,
    DamagedRun,
    DType,
    Memory,
    Movement,
    RunEvent,
    RunInfo,
    ShadowTensor,
    Snapshot,
    WriterState,
)

__version__ = "0.1.0"

__all__ = [
    "AbortedError", "Average", "AverageState", "Box", "Client", "Contribution", "DType", "DamagedRun", "DataLossError",
    "DeadlineExceededError", "FailedPreconditionError", "InternalError", "InvalidArgumentError", "Layout", "Memory",
    "Movement", "NotFoundError", "ResourceExhaustedError", "Retention", "Run", "RunEvent", "RunInfo", "Shadow",
    "ShadowTensor", "ShadowkeepError", "Snapshot", "Snapshots", "TensorSpec", "UnavailableError", "UnimplementedError",
    "WriterState", "averages", "connect",
]  # fmt: skip
