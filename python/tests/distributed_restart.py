"""For torchrun scripts: a training that dies in the middle of a step, and its restart with other processes.

Two runs get the same weights: one goes on after the restart, the other is rewound to the checkpoint.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from distributed_models import fsdp2, whole_weights
from distributed_training import DECAY, train_step

import shadowkeep
from shadowkeep import wire
from shadowkeep.torch import EMA
from shadowkeep.torch.options import Resume
from shadowkeep.update_stream import UpdateStream

CHECKPOINT_STEPS = 5
KILLED_STEP = 13
LAST_STEP = 20
KILLED_RANK = 2


def kill_in_step(step: int) -> None:
    """End this process as a crash does when it has sent the bytes of a step and not its end."""
    commit = UpdateStream.commit

    def killing_commit(stream: UpdateStream, message: wire.Commit) -> None:
        if message.step == step:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        commit(stream, message)

    setattr(UpdateStream, "commit", killing_commit)  # noqa: B010


def open_runs(model: Any, client: shadowkeep.Client, step: int) -> list[EMA]:
    retain = shadowkeep.Retention(CHECKPOINT_STEPS, 4)
    choices: tuple[Resume, ...] = ("continue", "rewind")
    emas = [EMA(model, client, run=choice, decay=DECAY, resume=choice, retain=retain) for choice in choices]
    for ema in emas:
        ema.register(step)
    return emas


def train(model: Any, emas: list[EMA], first: int, directory: Path, lr: float) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    for step in range(first, LAST_STEP + 1):
        train_step(model, optimizer, step)
        weights = whole_weights(model)
        if dist.get_rank() == 0:
            torch.save(weights, directory / f"{step}.new")
            (directory / f"{step}.new").rename(directory / f"{step}.pt")
        for ema in emas:
            ema.update(step)
        if step % CHECKPOINT_STEPS == 0:
            for ema in emas:
                ema.flush()


def first_life(client: shadowkeep.Client, directory: Path) -> None:
    """Train until one process is killed; the weights of each step are left in `directory`."""
    model = fsdp2()
    if dist.get_rank() == KILLED_RANK:
        kill_in_step(KILLED_STEP)
    if dist.get_rank() == 0:
        directory.mkdir()
        torch.save(whole_weights(model), directory / "0.pt")
    else:
        whole_weights(model)
    train(model, open_runs(model, client, 0), 1, directory, lr=0.05)


def second_life(client: shadowkeep.Client, before: Path, directory: Path) -> None:
    """Go on from the last checkpoint in `before` to the last step."""
    checkpoint = KILLED_STEP // CHECKPOINT_STEPS * CHECKPOINT_STEPS
    model = fsdp2()
    restore(model, torch.load(before / f"{checkpoint}.pt"))
    if dist.get_rank() == 0:
        directory.mkdir()
    with pytest.raises(shadowkeep.FailedPreconditionError) as refused:
        EMA(model, client, run="continue", decay=DECAY, resume="refuse").register(checkpoint)
    assert refused.value.reason == "TRAINER_BEHIND"
    emas = open_runs(model, client, checkpoint)
    assert [ema.step for ema in emas] == [checkpoint, checkpoint]
    # Other steps than those of the first life, so that a replayed one has other content.
    train(model, emas, checkpoint + 1, directory, lr=0.01)
    for ema in emas:
        ema.close()


def restore(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Load a checkpoint, each process its shards."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            whole = torch.distributed.tensor.distribute_tensor(
                weights[name], parameter.device_mesh, parameter.placements
            )
            parameter.copy_(whole)
