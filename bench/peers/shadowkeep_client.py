"""A trainer and an evaluator that use the Python package."""

from __future__ import annotations

import time
from typing import Any

import shadowkeep
import weights
from commands import serve

client: shadowkeep.Client
run: shadowkeep.Run
tensors: weights.Weights = {}
shadow: shadowkeep.Shadow | None = None
step = 0


def connect(target: str, checksums: bool = False) -> None:
    """Connect; without checksums, as a plain `pip install shadowkeep` has it and as the peers do."""
    global client
    client = shadowkeep.connect(target, checksums=checksums)


def open_mixed(total_bytes: int, small_count: int, averages: int = 1) -> int:
    """Open a run of the mixed model and push the initial weights; return the bytes of a step."""
    global tensors
    _, tensors = weights.mixed(total_bytes, small_count)
    return _open(averages, None)


def open_equal(count: int, elements: int, averages: int = 1, wire_dtype: Any = None) -> int:
    """Open a run of `count` tensors of `elements` each and push the initial weights; return the bytes of a step."""
    global tensors
    tensors = weights.equal(count, elements)
    return _open(averages, wire_dtype)


def _open(averages: int, wire_dtype: Any) -> int:
    global run, step
    rules = [shadowkeep.Average.ema(f"ema{index}", decay=0.999, start="INITIAL") for index in range(averages)]
    run = client.open_run("bench", tensors, rules, wire_dtype=wire_dtype)
    run.push_initial(tensors)
    step = 0
    return run.layout.step_bytes


def push(count: int) -> dict[str, float]:
    """Push steps, each from its first byte to its acknowledgement; return seconds and bytes."""
    global step
    began = time.perf_counter()
    for _ in range(count):
        step += 1
        run.update(step, tensors)
        run.flush()
    return {"seconds": time.perf_counter() - began, "bytes": count * run.layout.step_bytes}


def push_timed(count: int) -> list[list[float]]:
    """Push steps; return for each when it began, when its last byte was handed over and when it was acknowledged."""
    global step
    times = []
    for _ in range(count):
        step += 1
        began = time.monotonic()
        run.update(step, tensors)
        handed_over = time.monotonic()
        run.flush()
        times.append([began, handed_over, time.monotonic()])
    return times


def pull(count: int, reuse: bool = True) -> dict[str, float]:
    """Read the shadow, by default into the memory of the read before; return seconds and bytes."""
    global shadow
    size = 0
    began = time.perf_counter()
    for _ in range(count):
        if not reuse:
            shadow = None
        shadow = client.get_shadow("bench", reuse=shadow)
        size += shadow.buffer.nbytes
    return {"seconds": time.perf_counter() - began, "bytes": size}


if __name__ == "__main__":
    serve(
        connect=connect,
        open_mixed=open_mixed,
        open_equal=open_equal,
        push=push,
        push_timed=push_timed,
        pull=pull,
    )
