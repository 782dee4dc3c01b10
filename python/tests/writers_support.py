"""What tests of several writers share: a world of them in threads, as the processes of a trainer are."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from support import F32

from shadowkeep import Box, Client, Run

Weights = dict[str, Any]


def parts(weights: Weights, boxes: Sequence[Box]) -> list[Any]:
    """Views of the boxes, none of them copied."""
    found = []
    for box in boxes:
        where = tuple(slice(start, start + count) for start, count in zip(box.offset, box.extent, strict=True))
        found.append(weights[box.tensor][where] if where else weights[box.tensor])
    return found


def in_threads(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all at the same time, as the processes of a trainer do; raise the first failure."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        futures = [pool.submit(task) for task in tasks]
        return [future.result() for future in futures]


@contextmanager
def world_of(
    clients: Client | Sequence[Client], name: str, specs: Any, world: Sequence[Any], averages: Any, **options: Any
) -> Iterator[list[Run]]:
    """Open a stream for each writer; they end in order."""
    options.setdefault("incarnation", uuid.uuid4().hex)
    connected = [clients] * len(world) if isinstance(clients, Client) else clients
    runs = [
        client.open_run(name, specs, averages, writers=len(world), writer=writer, boxes=boxes, **options)
        for writer, (client, boxes) in enumerate(zip(connected, world, strict=True))
    ]
    in_threads([run.open_stream for run in runs])
    try:
        yield runs
        in_threads([run.close for run in runs])
    finally:
        for run in runs:
            run.abandon()


def push_all(runs: Sequence[Run], step: int, weights: Weights, *, initial: bool = False) -> None:
    def push(run: Run) -> None:
        arrays: Any = weights if run.boxes is None else parts(weights, run.boxes)
        if initial:
            run.push_initial(arrays, step)
        else:
            run.update(step, arrays)
            run.flush(60)

    in_threads([lambda run=run: push(run) for run in runs])  # type: ignore[misc]


def wait_for(ask: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    for _ in range(1000):
        found = ask()
        if done(found):
            return found
        threading.Event().wait(0.01)
    raise AssertionError(f"it did not come: {found}")


def ones(boxes: Sequence[Box], value: float = 1) -> list[F32]:
    return [np.full(box.extent, value, np.float32) for box in boxes]
