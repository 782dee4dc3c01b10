"""A sharded training with an average of its weights: no process ever has them whole.

    torchrun --nproc-per-node 4 examples/train_sharded_torch.py --target 127.0.0.1:50051

Each process sends and applies its own shards. Started again with another number of processes it goes on from its last
checkpoint; the average is rewound to the same step.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import fully_shard

from shadowkeep import Retention
from shadowkeep.torch import EMA

CHECKPOINT_STEPS = 10


def make_model() -> nn.Module:
    """Return a model of which each process has a part of every layer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    return model


def batch_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and what the model is to learn, others in each process and step."""
    generator = torch.Generator().manual_seed(1_000 * step + dist.get_rank())
    inputs = torch.randn(64, 32, generator=generator)
    return inputs, inputs.square().mean(1, keepdim=True)


def load(model: nn.Module, directory: Path) -> int:
    """Load the newest checkpoint, if there is one; return its step."""
    step = max((int(path.name) for path in directory.glob("*") if (path / ".metadata").exists()), default=0)
    if step > 0:
        state = get_model_state_dict(model)
        state_dict_loader.load(state, checkpoint_id=directory / str(step))
        set_model_state_dict(model, state)
    return step


def loss_of(model: nn.Module) -> float:
    """Return the loss on a batch that training never has, the mean of all processes."""
    inputs, targets = batch_of(0)
    with torch.no_grad():
        loss = nn.functional.mse_loss(model(inputs), targets)
    dist.all_reduce(loss)
    return loss.item() / dist.get_world_size()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="127.0.0.1:50051", help="HOST:PORT of the service")
    # Not --run: torchrun would take it for the beginning of an option of its own.
    parser.add_argument("--name", default="sharded-torch", help="the run's name")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--checkpoints", type=Path, default=Path(tempfile.gettempdir()) / "sharded-checkpoints")
    options = parser.parse_args()

    dist.init_process_group()
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = load(model, options.checkpoints)
    if dist.get_rank() == 0 and first > 0:
        print(f"goes on from step {first} of {options.checkpoints}, {max(0, options.steps - first)} steps to train")
    retain = Retention(every_steps=CHECKPOINT_STEPS, count_max=4)
    with EMA(model, options.target, run=options.name, decay=0.95, resume="rewind", retain=retain) as ema:
        ema.register(first)
        for step in range(first + 1, options.steps + 1):
            inputs, targets = batch_of(step)
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            ema.update(step)
            if step % CHECKPOINT_STEPS == 0:
                # First the average has this step, then the checkpoint says so.
                ema.flush()
                state_dict_saver.save(get_model_state_dict(model), checkpoint_id=options.checkpoints / str(step))
        raw = loss_of(model)
        with ema.average_parameters():
            averaged = loss_of(model)
    if dist.get_rank() == 0:
        print(f"step {ema.step}: loss {raw:.5f}, of the average {averaged:.5f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
