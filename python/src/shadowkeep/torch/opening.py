"""How an `EMA` opens its run, in this process and together with the others that push."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..averages import Average
from ..client import Client
from ..dtypes import float_dtype
from ..errors import DeadlineExceededError
from ..layout import Layout
from ..options import RunOptions
from .frozen import FrozenTensors
from .losses import Losses
from .options import EMAOptions
from .resuming import ResumeRule
from .share import Share
from .weights import PushedTensors
from .world import World, default_world
from .writer import Writer


@dataclass(frozen=True, slots=True)
class RunOpening:
    """A run that is to be opened, by its name and with the options of an `EMA`."""

    client: Client
    run: str
    options: EMAOptions

    def open(self, pushed: PushedTensors, averages: Sequence[Average], step: int | None) -> tuple[Writer, int]:
        """Open the run and its stream, and push the weights if it has none. Errors are those of `EMA.register`.

        Returns:
            The writer, and the step from which the trainer's count goes on.
        """
        options = self.options
        world = options.world or (World.alone() if options.replica is False else default_world())
        if world.size > 1 and options.on_busy == "skip":
            raise ValueError(
                f'on_busy="skip" is for one process that pushes, here are {world.size}: all must push the same steps'
            )
        specs = pushed.specs()
        share = Share(pushed, Layout(specs, float_dtype(options.wire_dtype)), world)
        rule = ResumeRule(self.run, options.resume, step)
        shared = {**vars(RunOptions.of(vars(options))), "incarnation": options.incarnation or world.incarnation}
        open_run = partial(
            self.client.open_run,
            self.run,
            specs,
            averages,
            writers=world.size,
            writer=world.rank,
            boxes=share.boxes,
            **shared,
        )
        run = rule.open(self.client, open_run)
        committed = run.committed_step
        if world.rank == 0:
            rule.warn(committed, run.answered_step)
        losses = Losses(self.run) if options.on_failure == "warn" else None
        try:
            writer = Writer(run, share, FrozenTensors(self.client, self.run, averages[0].name, share), losses)
        except DeadlineExceededError as late:
            if late.reason != "WRITERS_MISSING":
                raise
            raise DeadlineExceededError(
                f"{late.message}. Each of the {world.size} processes has to make the EMA and call register(), not the "
                "first one alone; of one that pushes for all it is EMA(..., replica=False), of those that only apply "
                "averages replica=True",
                reason=late.reason,
                metadata=late.metadata,
            ) from None
        try:
            if rule.repeats_beginning(committed):
                writer.repeat(0, rule.other_beginning())
            else:
                writer.begin(rule.start(committed))
        except BaseException:
            writer.abandon()
            raise
        return writer, rule.start(committed)
