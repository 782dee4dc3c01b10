"""How long a training thread is held by three ways to keep an average of its model's weights."""

from __future__ import annotations

import time
from collections.abc import Callable

import shadowkeep
import torch
from commands import serve
from shadowkeep.torch import EMA
from torch import nn

DECAY = 0.999
WIDTH = 1024


class TextbookEMA:
    """The class that tutorials show."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.shadow = {name: parameter.data.clone() for name, parameter in model.named_parameters()}

    def update(self) -> None:
        for name, parameter in self.model.named_parameters():
            self.shadow[name] = (DECAY * self.shadow[name] + (1.0 - DECAY) * parameter.data).clone()


class ForeachEMA:
    """The fastest that torch has in process: one call for all tensors, in place."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = [parameter.data for parameter in model.parameters()]
        self.shadow = [parameter.clone() for parameter in self.parameters]

    def update(self) -> None:
        torch._foreach_lerp_(self.shadow, self.parameters, 1.0 - DECAY)


model: nn.Module
updates: dict[str, Callable[[], object]]
ema: EMA


def begin(target: str, parameters: int) -> dict[str, int]:
    """Make a model of about so many parameters and the three averages of it."""
    global model, updates, ema
    torch.manual_seed(1)
    blocks = max(1, parameters // (WIDTH * WIDTH))
    model = nn.Sequential(*(nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)) for _ in range(blocks)))
    ema = EMA(model, shadowkeep.connect(target, checksums=False), run="stall", decay=DECAY, wire_dtype="BF16")
    ema.register()
    updates = {
        "shadowkeep": ema.update,
        "textbook": TextbookEMA(model).update,
        "foreach_lerp": ForeachEMA(model).update,
    }
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": count, "threads": torch.get_num_threads()}


def stall(system: str, steps: int, step_seconds: float) -> float:
    """Train some steps and return the milliseconds that an update held the thread, on average.

    A step takes `step_seconds`, in which an accelerator would compute and this thread waits for it, and ends with the
    optimizer's write to every parameter.
    """
    held = 0.0
    for _ in range(steps):
        time.sleep(step_seconds)
        optimizer_step()
        began = time.perf_counter()
        updates[system]()
        held += time.perf_counter() - began
    ema.flush()
    return held / steps * 1_000


def optimizer_step() -> None:
    with torch.no_grad():
        torch._foreach_mul_(list(model.parameters()), 0.9999)


if __name__ == "__main__":
    serve(begin=begin, stall=stall)
