"""The processes that push one model together."""

from __future__ import annotations

import itertools
import os
import uuid
from functools import cache
from typing import Any, NamedTuple

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

_KEY = "shadowkeep/incarnation"
_calls = itertools.count()


class World(NamedTuple):
    """This process's place among those that push.

    Attributes:
        rank: its number, the one that torch.distributed gives it.
        size: how many there are.
        incarnation: names this life of the trainer, the same in all of them.
    """

    rank: int
    size: int
    incarnation: str

    @classmethod
    def alone(cls) -> World:
        """Return the world of one process."""
        return cls(0, 1, str(uuid.uuid4()))


def torchrun_world() -> World:
    """Return this process's world, from torch.distributed when it is initialised, else from torchrun's variables.

    RANK and WORLD_SIZE; without them it is alone. Each call stands for a new life of the trainer, whose random id rank
    0 puts into the store that the processes have met in: no collective is called, but each process must call this
    equally often.

    Raises:
        RuntimeError: rank 0 has not called it within the store's timeout.
    """
    if is_distributed():
        rank, size = dist.get_rank(), dist.get_world_size()
    else:
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World.alone()
    store = _default_store() if is_distributed() else _environment_store()
    # A restarted job may meet in the same store.
    key = f"{_KEY}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_calls)}"
    if rank == 0:
        store.set(key, str(uuid.uuid4()))
    return World(rank, size, store.get(key).decode())


def default_world() -> World:
    """Return all processes of torch.distributed, when it is initialised; else this one alone."""
    return torchrun_world() if is_distributed() else World.alone()


def is_distributed() -> bool:
    """Return whether torch.distributed is initialised with several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _default_store() -> Any:
    return dist.distributed_c10d._get_default_store()


@cache
def _environment_store() -> Any:
    """Return torchrun's store, or one that rank 0 serves until it ends."""
    store, _, _ = next(rendezvous("env://"))
    return store
