"""For torchrun scripts: what each process would send of a model is all of it, once, and evenly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from distributed_models import FORMS, partial, plain_model

import shadowkeep
from shadowkeep.boxes import Part
from shadowkeep.layout import Layout
from shadowkeep.torch import EMA, World, torchrun_world
from shadowkeep.torch.names import named_tensors
from shadowkeep.torch.share import Share
from shadowkeep.torch.snapshot import whole_step
from shadowkeep.torch.staging import place_view
from shadowkeep.torch.weights import PushedTensors

EXCESS = 0.05


# Where parameters are DTensors, so may be what is pushed in their place.
WITH_MASTER_WEIGHTS = ("fsdp2", "2x2")


def check_share(form: str) -> None:
    """Put the processes' parts together: each element of each tensor is there once, and is that of the plain model."""
    world = World(dist.get_rank(), dist.get_world_size(), "")
    model = FORMS[form]()
    masters = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    pushed = PushedTensors(model, "copy", "once", masters if form in WITH_MASTER_WEIGHTS else None)
    layout = Layout(pushed.specs())
    share = Share(pushed, layout, world)
    assert share.boxes is not None
    part = Part.of_boxes(layout, share.boxes)
    space = torch.from_numpy(whole_step(share, part))
    sent = [(share.boxes[place.box_index], place_view(space, place).clone()) for place in part.places]
    everyone: list[Any] = [None] * world.size
    dist.all_gather_object(everyone, (sent, part.step_bytes, [(t.name, t.shape) for t in layout.tensors]))
    expected = {named.name: named.tensor.detach() for named in named_tensors(plain_model(), "copy")}
    counts = {name: np.zeros(tensor.shape, int) for name, tensor in expected.items()}
    for boxes, _, shapes in everyone:
        assert shapes == [(name, tuple(tensor.shape)) for name, tensor in expected.items()], form
        for box, values in boxes:
            inside = tuple(slice(first, first + size) for first, size in zip(box.offset, box.extent, strict=True))
            counts[box.tensor][inside] += 1
            assert torch.equal(values, expected[box.tensor][inside]), (form, box)
    assert all((count == 1).all() for count in counts.values()), form
    check_even(form, [step_bytes for _, step_bytes, _ in everyone])


def check_even(form: str, sizes: Sequence[float]) -> None:
    """No process has more than its part and 5 % of the whole."""
    assert max(sizes) <= (1 / len(sizes) + EXCESS) * sum(sizes), (form, sizes)


def check_worlds() -> None:
    """Each call is a new life, of which all processes know the same id, also before there is a process group."""
    without_group = [torchrun_world(), torchrun_world()]
    dist.init_process_group("gloo")
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, [*without_group, torchrun_world()])
    for rank, worlds in enumerate(everyone):
        assert [(world.rank, world.size) for world in worlds] == [(rank, len(everyone))] * 3
        assert [world.incarnation for world in worlds] == [world.incarnation for world in everyone[0]]
    assert len({world.incarnation for world in everyone[0]}) == 3


def check_refusals(target: str) -> None:
    """What cannot be pushed from here is refused before the service is asked."""
    with pytest.raises(ValueError, match=r"'weight' has placement .*artial.*: its values are in no process"):
        EMA(partial(), target, run="partial").register()
    with pytest.raises(ValueError, match=r'on_busy="skip" is for one process that pushes, here are 4'):
        EMA(FORMS["ddp"](), target, run="skip", on_busy="skip").register()
    with pytest.raises(ValueError, match=r"'block.norm.weight' is sharded over several processes"):
        EMA(FORMS["fsdp2"](), target, run="alone", replica=False).register()
    with pytest.raises(ValueError, match=r"has 4 ranks, 2 processes push"):
        EMA(FORMS["fsdp2"](), target, run="two", world=World(dist.get_rank() % 2, 2, "")).register()
    with pytest.raises(ValueError, match=r"over 4 ranks, 2 processes push"):
        EMA(FORMS["fsdp1"](), target, run="two", world=World(dist.get_rank() % 2, 2, "")).register()
    with shadowkeep.connect(target) as client:
        assert not {"partial", "skip", "alone", "two"} & {run.run for run in client.list_runs()}
