"""Which run a training has, and where it is.

A place travels in the checkpoints of the framework, so that a training that is restored goes on in its own run, and an
evaluation of a checkpoint uses the average of its own step.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Self

from ..client import Client, connect
from ..errors import NotFoundError, ShadowkeepError
from ..options import RECONNECT_SECONDS_DEFAULT
from ..torch import EMA, EMAKeywords
from ..torch.run_averages import flat_averages

logger = logging.getLogger("shadowkeep")

# Of the one that `EMA` makes of `decay`.
AVERAGE_NAME_DEFAULT = "ema"


class Place(NamedTuple):
    """A step of a run.

    Attributes:
        run: its name.
        step: the step.
        first_generation: tells the run from others of its name. None: it is not known.
    """

    run: str
    step: int
    first_generation: int | None = None

    @classmethod
    def from_state(cls, state: Any) -> Self | None:
        """Return the place that a checkpoint tells of; None: it tells of none."""
        if not isinstance(state, dict) or not state.get("run") or not isinstance(state.get("step"), int):
            return None
        first = state.get("first_generation")
        return cls(str(state["run"]), state["step"], first if isinstance(first, int) else None)

    def to_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON takes it."""
        return self._asdict()

    def may_be_in(self, run: str, first_generation: int | None) -> bool:
        """Whether it is in this run, and not in another one that had its name; True where that is not known."""
        return run == self.run and len({self.first_generation, first_generation} - {None}) < 2


def present_place(ema: EMA, timeout: float | None = None) -> Place:
    """Return where a training is, once the service has answered for what was pushed, or after `timeout` seconds.

    A step that the service has refused, as for NaN, is not one that a restored trainer could be at.
    """
    try:
        committed = ema.newest_step(timeout)
    except ShadowkeepError:
        # The next update says so.
        committed = None
    return Place(ema.run, ema.step if committed is None else min(ema.step, committed), ema.first_generation)


def run_of_training(client: Client, name: str, restored: Place | None, *, keeps_name: bool) -> str:
    """Return the run of a training that starts: its checkpoint's, else `name`, or `name-2` … where that is taken.

    Args:
        client: of the service.
        name: the run's name as the user gave it.
        restored: the place that the training goes on from.
        keeps_name: `name` is the run, whatever it has; what becomes of it then says the option `resume`.
    """
    if restored is not None:
        if _is_there(client, restored):
            return restored.run
        warn(
            f"run {restored.run!r} is another one than that of the checkpoint, which was deleted or lost: the averages "
            f"of this training begin anew with the weights of step {restored.step}"
        )
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
        warn(
            f"run {name!r} has another training's averages: those of this one are in run {chosen!r}. The option "
            "`resume` makes it go on in the run all the same"
        )
    return chosen


def _is_there(client: Client, restored: Place) -> bool:
    """Whether a training may go on in the run that its checkpoint names; one that is not there begins anew."""
    try:
        return restored.may_be_in(restored.run, client.get_run(restored.run).first_generation)
    except NotFoundError:
        return True


def reusable(options: EMAKeywords) -> EMAKeywords:
    """Return options of which several EMAs can be made: `averages` may be an iterator."""
    averages = options.get("averages")
    return options if averages is None else {**options, "averages": flat_averages(averages)}


def check_average(client: Client, run: str, average: str | None, options: EMAKeywords) -> None:
    """Look for the average to evaluate with among those that a run begins with, or has: a typo shows at the start.

    Raises:
        NotFoundError: AVERAGE_NOT_FOUND.
    """
    averages = options.get("averages")
    names = [AVERAGE_NAME_DEFAULT] if averages is None else [given.name for given in flat_averages(averages)]
    if average is None or average in names:
        return
    with suppress(NotFoundError):
        # Others may have been added to it.
        names = [held.name for held in client.get_run(run).averages]
    if average not in names:
        problem = f"run {run!r} has no average {average!r} to evaluate with, it has {', '.join(map(repr, names))}"
        raise NotFoundError(problem, reason="AVERAGE_NOT_FOUND")


@contextmanager
def client_of(target: str | Client, options: EMAKeywords) -> Iterator[Client]:
    """Connect to a target for a `with` block, as an EMA with these options would; a client is left open."""
    if isinstance(target, Client):
        yield target
        return
    with connect(target, reconnect_timeout=options.get("reconnect_timeout", RECONNECT_SECONDS_DEFAULT)) as client:
        yield client


def warn(text: str) -> None:
    """Warn of what a training or an evaluation does."""
    warnings.warn(f"shadowkeep: {text}", RuntimeWarning, stacklevel=3)
