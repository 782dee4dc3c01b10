"""For torchrun scripts: trains a model in each form, and compares what the service has with the textbook class.

The textbook average is that of the whole weights, which are gathered here for the comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from distributed_models import FORMS, plain_model, whole_weights
from distributed_shares import check_even
from support import ulp_distance

import shadowkeep
from shadowkeep.torch import EMA, load_shadow
from shadowkeep.update_stream import UpdateStream

DECAY = 0.9
ULP_PER_STEP = 2


class Traffic:
    """Counts what this process sends in streams and reads."""

    def __init__(self, client: shadowkeep.Client) -> None:
        self.sent = self.read = 0
        send, get_shadow = UpdateStream.send, client.get_shadow

        def counted_send(stream: UpdateStream, message: bytes) -> None:
            self.sent += len(message)
            send(stream, message)

        def counted_read(*args: Any, **kwargs: Any) -> shadowkeep.Shadow:
            shadow = get_shadow(*args, **kwargs)
            self.read += shadow.buffer.nbytes
            return shadow

        setattr(UpdateStream, "send", counted_send)  # noqa: B010
        setattr(client, "get_shadow", counted_read)  # noqa: B010


class Textbook:
    """The average of the whole weights, and how far the service is from it."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.shadow = dict(weights)
        self.ulp_max = 0.0

    def update(self, weights: dict[str, torch.Tensor], pulled: dict[str, torch.Tensor]) -> None:
        """Fold one step, compare, and go on from what was pulled: each step is judged by itself."""
        for name, shadow in self.shadow.items():
            expected = DECAY * shadow + (1 - DECAY) * weights[name]
            scale = torch.maximum(shadow.abs(), weights[name].abs()).clamp_min(1e-3)
            ulp = ulp_distance(pulled[name].numpy(), expected.numpy(), scale.numpy())
            self.ulp_max = max(self.ulp_max, ulp)
            assert ulp <= ULP_PER_STEP, (name, ulp)
            self.shadow[name] = pulled[name]


def train_step(model: Any, optimizer: Any, step: int) -> None:
    """Train with the same input in every process: those of one tensor-parallel group must have it."""
    torch.manual_seed(step)
    loss = model(torch.randn(16, 48)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def outputs(model: Any) -> torch.Tensor:
    """Run the model in evaluation, after which FSDP keeps the gathered weights of the root."""
    model.eval()
    with torch.no_grad():
        out: torch.Tensor = model(torch.linspace(-1, 1, 4 * 48).reshape(4, 48))
    model.train()
    return out


def train(form: str, steps: int, client: shadowkeep.Client, traffic: Traffic) -> dict[str, Any]:
    """Return the bytes that each process has sent and read, and the largest difference of one step."""
    rank, size = dist.get_rank(), dist.get_world_size()
    model = FORMS[form]()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    textbook = Textbook(whole_weights(model))
    traffic.sent = 0
    with EMA(model, client, run=form, decay=DECAY, retain=shadowkeep.Retention(1, 3)) as ema:
        ema.register()
        sent_first, traffic.sent = traffic.sent, 0
        for step in range(1, steps + 1):
            train_step(model, optimizer, step)
            assert ema.update()
            weights = whole_weights(model)
            if rank == 0:
                ema.flush()
                textbook.update(weights, shadow_of(client, form, step))
        ema.flush()
        sent, traffic.read = traffic.sent / steps, 0
        check_apply(model, ema, client, form, steps)
        read = traffic.read
        states = client.get_run(form).writer_states
        assert client.get_run(form).states[0].num_updates == steps
    everyone: list[Any] = [None] * size
    dist.all_gather_object(everyone, (sent, read, sent_first))
    step_bytes = [state.step_bytes for state in states]
    check_even(form, step_bytes)
    check_even(form, [row[0] for row in everyone])
    return {"step_bytes": step_bytes, "sent_read_first": everyone, "ulp_max": textbook.ulp_max}


def shadow_of(client: shadowkeep.Client, form: str, step: int) -> dict[str, torch.Tensor]:
    """Return the service's average; not by `client.get_shadow`, which is counted."""
    shadow = shadowkeep.Client.get_shadow(client, form, step=step)
    return {name: torch.from_numpy(array.copy()) for name, array in shadow.tensors.items()}


def check_apply(model: Any, ema: EMA, client: shadowkeep.Client, form: str, step: int) -> None:
    """The average is in each shard while it is applied, and nothing of it afterwards, also where FSDP keeps copies."""
    trained, before = whole_weights(model), outputs(model)
    expected = shadow_of(client, form, step)
    evaluator = plain_model()
    load_shadow(shadowkeep.Client.get_shadow(client, form, step=step), evaluator)
    with ema.average_parameters():
        for name, tensor in whole_weights(model).items():
            assert torch.equal(tensor, expected[name]), (form, name)
        assert torch.allclose(outputs(model), outputs(evaluator), rtol=1e-4, atol=1e-5), form
    assert torch.equal(outputs(model), before), form
    for name, tensor in whole_weights(model).items():
        assert torch.equal(tensor, trained[name]), (form, name)
    buffers = dict(model.named_buffers())
    if dist.get_rank() == 0:
        mean = next(buffer for name, buffer in buffers.items() if name.endswith("running_mean"))
        assert np.array_equal(mean.numpy(), expected["batch_norm.running_mean"].numpy()), form
