"""Which run a training has, and of which step of it weights are.

A place travels in the checkpoints of the framework, so that a training that is restored goes on in its own run, and an
evaluation of a checkpoint uses the average of its own step.
"""

from __future__ import annotations

import logging
import math
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from ..client import Client, connect
from ..errors import NotFoundError, ShadowkeepError
from ..torch import EMA
from ..torch.placements import local_tensor

logger = logging.getLogger("shadowkeep")


class Place(NamedTuple):
    """A step of a run."""

    run: str
    step: int

    @classmethod
    def from_state(cls, state: Any) -> Self | None:
        """Return the place that a checkpoint tells of; None: it tells of none."""
        if not isinstance(state, dict) or not state.get("run") or not isinstance(state.get("step"), int):
            return None
        return cls(str(state["run"]), state["step"])

    def to_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON takes it."""
        return self._asdict()


class KnownWeights:
    """A model of whose weights the place is known, as long as nothing else writes into them.

    Args:
        model: is not kept alive.
        place: None: the weights came from a checkpoint that does not say it.
    """

    def __init__(self, model: nn.Module, place: Place | None) -> None:
        self.place = place
        self._model = weakref.ref(model)
        self._marks = _marks(model)

    def are_of(self, model: nn.Module) -> bool:
        """Whether this is the model."""
        return self._model() is model

    def evaluated(self, client: Client, model: nn.Module) -> Evaluated:
        """Return what the model is evaluated with."""
        if _are_others(self._marks, _marks(model)):
            return Evaluated(None, f"the weights were changed since they were trained or restored: {_OWN}")
        return evaluated_unplaced() if self.place is None else evaluated_at(client, self.place)


def _marks(model: nn.Module) -> list[tuple[tuple[int, ...], float]]:
    """Return shape and norm of each parameter, as far as it is in this process."""
    local = [local_tensor(parameter).detach() for parameter in model.parameters()]
    return [(tuple(tensor.shape), _norm(tensor)) for tensor in local]


def _norm(tensor: torch.Tensor) -> float:
    is_number = tensor.is_floating_point() or tensor.is_complex()
    # Integers and float8 have no norm in torch, tensors without memory have no values.
    if tensor.is_meta or not is_number or tensor.itemsize < 2:
        return 0.0
    dtype = torch.complex128 if tensor.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(tensor, dtype=dtype))


def _are_others(before: list[tuple[tuple[int, ...], float]], now: list[tuple[tuple[int, ...], float]]) -> bool:
    """Of a model that is cut otherwise now nothing is known; the order of a sum depends on the device."""
    if [shape for shape, _ in before] != [shape for shape, _ in now]:
        return False
    return any(
        not (math.isclose(old, new, rel_tol=1e-9) or (math.isnan(old) and math.isnan(new)))
        for (_, old), (_, new) in zip(before, now, strict=True)
    )


def present_place(ema: EMA, timeout: float | None = None) -> Place:
    """Return where a training is, once the service has answered for what was pushed, or after `timeout` seconds.

    A step that the service has refused, as for NaN, is not one that a restored trainer could be at.
    """
    try:
        committed = ema.newest_step(timeout)
    except ShadowkeepError:
        # The next update says so.
        committed = None
    return Place(ema.run, ema.step if committed is None else min(ema.step, committed))


def run_of_training(client: Client, name: str, restored: Place | None, *, keeps_name: bool) -> str:
    """Return the run of a training that starts: its checkpoint's, else `name`, or `name-2` … where that is taken.

    Args:
        client: of the service.
        name: the run's name as the user gave it.
        restored: the place that the training goes on from.
        keeps_name: `name` is the run, whatever it has; what becomes of it then says the option `resume`.
    """
    if restored is not None:
        return restored.run
    if keeps_name:
        return name
    taken = {run.run for run in client.list_runs() if run.committed_step is not None or run.writers_connected > 0}
    chosen, number = name, 1
    while chosen in taken:
        number += 1
        chosen = f"{name}-{number}"
    if chosen == name:
        logger.info("the averages of this training are in run %r", name)
    else:
        _warn(
            f"run {name!r} has another training's averages: those of this one are in run {chosen!r}. The option "
            "`resume` makes it go on in the run all the same"
        )
    return chosen


class Evaluated(NamedTuple):
    """What a model is evaluated with: the averages of a run's step, or its own weights, and why.

    Attributes:
        place: None: with its own weights.
        note: what is to be said.
        is_expected: False: it is to be said as a warning.
    """

    place: Place | None
    note: str
    is_expected: bool = False

    def say(self) -> None:
        """Log the note, or warn."""
        if self.is_expected:
            logger.info("%s", self.note)
        else:
            _warn(self.note)


def evaluated_at(client: Client, place: Place) -> Evaluated:
    """Return the average of exactly the step of which the weights are, else the weights themselves."""
    run, step = place
    try:
        info = client.get_run(run)
    except NotFoundError:
        return Evaluated(None, f"the service has no run {run!r} (any more): {_OWN}")
    held = [*info.retained_steps, *([] if info.committed_step is None else [info.committed_step])]
    if step in held:
        return Evaluated(place, f"evaluated with the average of step {step} of run {run!r}", True)
    steps = ", ".join(str(held_step) for held_step in sorted(set(held))) or "none"
    return Evaluated(
        None,
        f"these are the weights of step {step} of run {run!r}, and the service does not hold the average of that step "
        f"(held: {steps}): {_OWN}. The option retain=Retention(every_steps, count_max) keeps older ones",
    )


def evaluated_anywhere(client: Client, name: str) -> Evaluated:
    """Return the newest average of a run, for weights of which nothing is known; their own where there is none yet."""
    try:
        committed = client.get_run(name).committed_step
    except NotFoundError:
        committed = None
    if committed is None:
        return Evaluated(None, f"run {name!r} has no average yet: {_OWN}", True)
    return Evaluated(
        Place(name, committed),
        f"evaluated with the average of step {committed} of run {name!r}, the newest: this model was neither trained "
        "nor restored here, and its own weights are not used",
    )


def evaluated_unplaced() -> Evaluated:
    """Return the weights of a checkpoint that does not say of which step they are."""
    return Evaluated(
        None, f"the checkpoint that was loaded does not say of which step of which run its weights are: {_OWN}"
    )


@contextmanager
def client_of(target: str | Client) -> Iterator[Client]:
    """Connect to a target for a `with` block; a client is left open."""
    if isinstance(target, Client):
        yield target
        return
    with connect(target) as client:
        yield client


_OWN = "evaluated with the model's own weights, without an average"


def _warn(text: str) -> None:
    warnings.warn(f"shadowkeep: {text}", RuntimeWarning, stacklevel=3)
