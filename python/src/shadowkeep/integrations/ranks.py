"""What the first process decides for all that train or evaluate one model together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")
Broadcast = Callable[[Any], Any]


def decided_by_first(decide: Callable[[], T], is_first: bool, broadcast: Broadcast) -> T:
    """Return what `decide` returns in the first process; all of them call this, and all raise when it fails there.

    Args:
        decide: is called in the first process only.
        is_first: whether this is that process.
        broadcast: returns the first process's argument in all of them.
    """
    said: tuple[Any, str | None] = (None, None)
    failure: Exception | None = None
    if is_first:
        try:
            said = (decide(), None)
        except Exception as error:
            # The others wait for an answer.
            failure, said = error, (None, str(error))
    value, problem = broadcast(said)
    if failure is not None:
        raise failure
    if problem is not None:
        raise RuntimeError(f"the first process has failed: {problem}")
    decided: T = value
    return decided


def gathered_objects(value: T) -> list[T]:
    """Return every process's value, where torch.distributed is initialised."""
    if not _is_one_of_many():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast_object(value: Any) -> Any:
    """Return the first process's value, where torch.distributed is initialised."""
    if not _is_one_of_many():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def _is_one_of_many() -> bool:
    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
