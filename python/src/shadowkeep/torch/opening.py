"""How an `EMA` opens its run, in this process and together with the others that push."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..averages import Average
from ..client import Client, NonFiniteName
from ..dtypes import FloatName, float_dtype
from ..errors import NotFoundError
from ..layout import Layout
from ..retention import Retention
from ..snapshots import Snapshots
from .frozen import FrozenTensors
from .options import OnBusy, Resume
from .share import Share
from .weights import PushedTensors
from .world import World, default_world
from .writer import Writer


@dataclass(frozen=True, slots=True)
class RunOpening:
    """A run that is to be opened; the fields are those of `EMA`."""

    client: Client
    run: str
    world: World | None
    resume: Resume
    on_busy: OnBusy
    incarnation: str | None
    wire_dtype: FloatName | None
    non_finite: NonFiniteName
    snapshots: Snapshots | None
    retain: Retention | None
    reconnect_timeout: float

    def open(self, pushed: PushedTensors, averages: Sequence[Average], step: int) -> Writer:
        """Open the run and its stream, and push the weights if it has none. Errors are those of `EMA.register`."""
        world = self.world or default_world()
        if world.size > 1 and self.on_busy == "skip":
            raise ValueError(
                f'on_busy="skip" is for one process that pushes, here are {world.size}: all must push the same steps'
            )
        specs = pushed.specs()
        share = Share(pushed, Layout(specs, float_dtype(self.wire_dtype)), world)
        run = self.client.open_run(
            self.run,
            specs,
            averages,
            non_finite=self.non_finite,
            snapshots=self.snapshots,
            wire_dtype=self.wire_dtype,
            writers=world.size,
            writer=world.rank,
            boxes=share.boxes,
            incarnation=self.incarnation or world.incarnation,
            resume_step=step if self.resume == "rewind" and self._is_ahead(step) else None,
            trainer_step=step if self.resume == "refuse" else None,
            retain=self.retain,
            reconnect_timeout=self.reconnect_timeout,
        )
        writer = Writer(run, share, FrozenTensors(self.client, self.run, averages[0].name, share))
        try:
            writer.begin(step)
        except BaseException:
            writer.abandon()
            raise
        return writer

    def _is_ahead(self, step: int) -> bool:
        """Return whether the run exists and has committed a later step."""
        try:
            committed = self.client.get_run(self.run).committed_step
        except NotFoundError:
            return False
        return committed is not None and committed > step
