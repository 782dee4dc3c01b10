"""What becomes of a run when the trainer that opens it stands at another step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..client import Client
from ..errors import FailedPreconditionError, NotFoundError
from ..run import Run
from .options import Resume


class ResumeRule(NamedTuple):
    """Where a trainer stands, and what it wants of a run that stands elsewhere; what it says names both steps.

    Attributes:
        run: the run's name.
        resume: as in `EMA`.
        step: the trainer's; None: it has not said.
    """

    run: str
    resume: Resume
    step: int | None

    @property
    def trainer_step(self) -> int:
        """The step that the trainer stands at; 0 at the beginning of a training."""
        return self.step or 0

    def open(self, client: Client, open_run: Callable[..., Run]) -> Run:
        """Call `open_run` with what the rule says of `resume_step` and `trainer_step`. A refusal changes nothing."""
        step = self.trainer_step
        if self.resume == "refuse" and step > 0:
            self._check_begun(client)
        try:
            if self.resume == "continue":
                return open_run()
            if self.resume == "rewind":
                return open_run(resume_step=step, trainer_step=step)
            return open_run(trainer_step=step)
        except FailedPreconditionError as error:
            if error.reason == "TRAINER_BEHIND" and self.resume == "step":
                return open_run()
            raise self._explained(error) from None

    def repeats_beginning(self, committed: int | None) -> bool:
        """Whether the run and the trainer both stand at a beginning, which may be that of another training."""
        return self.resume != "continue" and committed == self.trainer_step == 0

    def other_beginning(self) -> FailedPreconditionError:
        """Return the error of a run that was begun with other weights."""
        return self._has_commits("has begun with other weights", {"committedStep": "0"})

    def start(self, committed: int | None) -> int:
        """Return the step that the trainer's count goes on from."""
        if self.step is None and self.resume == "continue" and committed is not None:
            return committed
        return self.trainer_step

    def warn(self, committed: int | None, answered: int | None) -> None:
        """Say what the averages will not have, or will not get again, when the trainer goes on.

        Of steps up to `answered` that are not committed it was said that they were rejected or dropped.
        """
        step, run = self.start(committed), f"run {self.run!r}"
        if committed is None:
            if step > 0:
                _warn(
                    f"{run} has no commits, the trainer comes from step {step}: its averages begin with the weights of "
                    "that step. If the run had earlier ones, the service has lost them"
                )
        elif committed > step:
            _warn(
                f"{run} has committed step {committed}, the trainer comes back from step {step}: the steps up to "
                f'{committed} are in its averages and are not pushed again; resume="rewind" would undo them'
            )
        elif committed < step and (answered is None or answered < step):
            cause = "no later version is retained" if self.resume == "rewind" else "the service is behind"
            _warn(
                f"{run} goes on from step {committed}, the trainer from step {step}: {cause}, and what was trained "
                "between them is missing in its averages"
            )

    def _check_begun(self, client: Client) -> None:
        """Raise where there is nothing to go on from: `resume="refuse"` begins nothing in mid-training."""
        try:
            committed = client.get_run(self.run).committed_step
        except NotFoundError:
            committed = None
        if committed is None:
            raise FailedPreconditionError(
                f"run {self.run!r} has no commits, the trainer comes from step {self.trainer_step}: register with "
                'resume="step" to begin its averages with the weights of that step',
                reason="RUN_BEHIND",
                metadata={"trainerStep": str(self.trainer_step)},
            )

    def _explained(self, error: FailedPreconditionError) -> FailedPreconditionError:
        """Return a refusal with the choices that there are here; others as they are."""
        committed = error.metadata.get("committedStep")
        both = f"run {self.run!r} has committed step {committed}, the trainer comes back from {self.trainer_step}: "
        if error.reason == "RUN_HAS_COMMITS":
            return self._has_commits(f"has committed step {committed}", error.metadata)
        if error.reason == "RUN_BEHIND":
            text = both + (
                "what was trained between them is not in its averages. Restore a checkpoint of step "
                f'{committed}, go on without those steps (resume="continue"), or begin another run. The step to '
                "register with is that of the last update() before the checkpoint"
            )
        elif error.reason == "TRAINER_BEHIND":
            text = both + (
                f'with resume="step" those up to {committed} are not pushed again, with resume="rewind" they are undone'
            )
        else:
            return error
        return FailedPreconditionError(text, reason=error.reason, metadata=error.metadata)

    def _has_commits(self, has: str, metadata: Mapping[str, str]) -> FailedPreconditionError:
        text = (
            f"run {self.run!r} {has}, and this training begins at step 0: they would be averaged together. Give it a "
            f"run of its own, delete this one (client.delete_run({self.run!r}), shadowkeep delete {self.run}), "
            "register with the step of the checkpoint that was restored, or go on in it on purpose "
            '(resume="continue")'
        )
        return FailedPreconditionError(text, reason="RUN_HAS_COMMITS", metadata=metadata)


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=5)
