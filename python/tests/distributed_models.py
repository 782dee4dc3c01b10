"""For torchrun scripts: a model in each form that a distributed training gives it, and its whole weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.placement_types import _StridedShard

from shadowkeep.torch import canonical_names

SEED = 20_260_102


class Block(nn.Module):
    """Two layers, which tensor parallelism splits, and a norm, which it leaves alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(48)
        self.up = nn.Linear(48, 96)
        self.down = nn.Linear(96, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the two layers' output."""
        down: torch.Tensor = self.down(torch.relu(self.up(self.norm(x))))
        return x + down


class Frozen(nn.Linear):
    """A layer that is not trained; FSDP1 wants it apart."""


class Model(nn.Module):
    """A block, a tied weight, rows that four do not divide, a frozen layer, buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()
        self.batch_norm = nn.BatchNorm1d(48)
        self.frozen = Frozen(48, 48, bias=False).requires_grad_(False)
        self.head = nn.Linear(48, 5)
        self.twin = nn.Linear(48, 5, bias=False)
        self.twin.weight = self.head.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return both heads' outputs, added."""
        x = self.frozen(self.batch_norm(self.block(x)))
        both: torch.Tensor = self.head(x) + self.twin(x)
        return both


def plain_model() -> Model:
    """Return the same weights in each process."""
    torch.manual_seed(SEED)
    return Model()


def ddp() -> nn.Module:
    """Replicated, as DistributedDataParallel has it."""
    return nn.parallel.DistributedDataParallel(plain_model())


def fsdp1(use_orig_params: bool, strategy: ShardingStrategy = ShardingStrategy.FULL_SHARD) -> nn.Module:
    """Flat parameters, those of the block apart from the others."""
    hybrid = strategy == ShardingStrategy.HYBRID_SHARD
    return FullyShardedDataParallel(
        plain_model(),
        sharding_strategy=strategy,
        device_mesh=init_device_mesh("cpu", (2, 2)) if hybrid else None,
        auto_wrap_policy=ModuleWrapPolicy({Block, Frozen}),
        use_orig_params=use_orig_params,
        device_id=torch.device("cpu"),
    )


def fsdp2() -> nn.Module:
    """DTensors with Shard(0)."""
    return _fully_sharded(plain_model(), init_device_mesh("cpu", (dist.get_world_size(),)))


def hsdp2() -> nn.Module:
    """DTensors with Replicate and Shard(0)."""
    return _fully_sharded(plain_model(), init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))


def two_by_two() -> nn.Module:
    """Tensor parallelism in the block, FSDP2 across it: strided shards; other layers are sharded by FSDP2 only."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    model = plain_model()
    parallelize_module(model.block, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return _fully_sharded(model, mesh["dp"])


def odd_placements() -> nn.Module:
    """DTensors that no library makes: replicated, and strided, with several runs of rows in a process; untrainable."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b"))
    model = plain_model()
    strided = [_StridedShard(0, split_factor=3), Replicate()]
    for linear, placements in ((model.block.up, strided), (model.head, [Replicate(), Replicate()])):
        weight = distribute_tensor(linear.weight.detach(), mesh, placements)
        linear.weight = nn.Parameter(weight)
    model.twin.weight = model.head.weight
    return model


def partial() -> nn.Module:
    """A DTensor whose values are in no process."""
    model = nn.Linear(4, 4)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model.weight = nn.Parameter(DTensor.from_local(torch.ones(4, 4), mesh, [Partial()]))
    return model


FORMS: dict[str, Callable[[], nn.Module]] = {
    "ddp": ddp,
    "fsdp1": lambda: fsdp1(use_orig_params=True),
    "fsdp1-flat": lambda: fsdp1(use_orig_params=False),
    "fsdp1-hybrid": lambda: fsdp1(use_orig_params=True, strategy=ShardingStrategy.HYBRID_SHARD),
    "fsdp1-no-shard": lambda: fsdp1(use_orig_params=True, strategy=ShardingStrategy.NO_SHARD),
    "fsdp2": fsdp2,
    "hsdp2": hsdp2,
    "2x2": two_by_two,
    "odd": odd_placements,
}


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Gather the parameters, for comparison only: what is tested never does that."""
    with FullyShardedDataParallel.summon_full_params(model, writeback=False), torch.no_grad():
        names = canonical_names(model)
        return {names.get(name, name): _whole(tensor) for name, tensor in model.named_parameters()}


def _whole(tensor: Any) -> torch.Tensor:
    whole: torch.Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().clone()


def _fully_sharded(model: Model, mesh: Any) -> nn.Module:
    fully_shard(model.block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model
