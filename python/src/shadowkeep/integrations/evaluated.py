"""What a model is evaluated with: an average, in all processes or in none, or its own weights, which is said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from ..client import Client
from ..errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, ShadowkeepError
from ..torch import EMA, EMAKeywords
from ..torch.losses import is_tolerable
from .places import Place, warn
from .ranks import gathered_objects

logger = logging.getLogger("shadowkeep")

OWN_WEIGHTS = "evaluated with the model's own weights, without an average"
# Of a service that has lost the run: it is one that was away.
_LOST = frozenset({"NOTHING_COMMITTED", "GENERATION_UNKNOWN"})


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
            warn(self.note)


def evaluated_at(client: Client, place: Place) -> Evaluated:
    """Return the average of exactly the step of which the weights are, else the weights themselves."""
    run, step = place.run, place.step
    try:
        info = client.get_run(run)
    except NotFoundError:
        return Evaluated(None, f"the service has no run {run!r} (any more): {OWN_WEIGHTS}")
    if not place.may_be_in(run, info.first_generation):
        return Evaluated(
            None,
            f"these are the weights of step {step} of another run {run!r} than the service has, which was deleted or "
            f"lost: {OWN_WEIGHTS}",
        )
    held = [*info.retained_steps, *([] if info.committed_step is None else [info.committed_step])]
    if step in held:
        return Evaluated(place, f"evaluated with the average of step {step} of run {run!r}", True)
    steps = ", ".join(str(held_step) for held_step in sorted(set(held))) or "none"
    return Evaluated(
        None,
        f"these are the weights of step {step} of run {run!r}, and the service does not hold the average of that step "
        f"(held: {steps}): {OWN_WEIGHTS}. The option retain=Retention(every_steps, count_max) keeps older ones",
    )


def evaluated_unknown(client: Client, name: str) -> Evaluated:
    """Return the own weights of a model of which nothing is known: it may be another one's, or of another step."""
    try:
        committed = client.get_run(name).committed_step
    except NotFoundError:
        committed = None
    if committed is None:
        return Evaluated(None, f"run {name!r} has no average yet: {OWN_WEIGHTS}", True)
    return Evaluated(
        None,
        f"this model was neither trained nor restored here: {OWN_WEIGHTS}. `load_shadow(client.get_shadow({name!r}), "
        "model)` of shadowkeep.torch loads one",
    )


def evaluated_unplaced() -> Evaluated:
    """Return the weights of a checkpoint that does not say of which step they are."""
    return Evaluated(
        None, f"the checkpoint that was loaded does not say of which step of which run its weights are: {OWN_WEIGHTS}"
    )


def evaluated_despite(options: EMAKeywords, evaluate: Callable[[], Evaluated]) -> Evaluated:
    """Return what `evaluate` returns; where the service is away, as `on_failure` says: the model's own weights."""
    try:
        return evaluate()
    except ShadowkeepError as failure:
        if not _is_outlasted(options, failure):
            raise
        return _unread(str(failure))


def apply_together(ema: EMA, options: EMAKeywords, apply: Callable[[], None]) -> Evaluated | None:
    """Call `apply`, in all processes, which all have an average applied then, or none of them.

    Returns:
        None: it is applied. Else the model's own weights, with `on_failure="warn"` where the service is away from one.

    Raises:
        RuntimeError: it has failed in another process.
    """
    failure: Exception | None = None
    try:
        apply()
    except Exception as error:
        # The others wait for what became of it.
        failure = error
    told = None if failure is None else (str(failure), _is_outlasted(options, failure))
    problems = [problem for problem in gathered_objects(told) if problem is not None]
    if not problems:
        return None
    if ema.applied:
        ema.restore()
    if failure is not None and not _is_outlasted(options, failure):
        raise failure
    for text, is_outlasted in problems:
        if not is_outlasted:
            raise RuntimeError(f"another process has failed: {text}")
    return _unread(problems[0][0])


def end_evaluation(ema: EMA, training: EMA | None) -> None:
    """Put the raw weights back after an evaluation with `ema`, which is closed unless it is the training's."""
    try:
        if ema.applied:
            ema.restore()
    finally:
        if ema is not training:
            ema.close()


def _is_outlasted(options: EMAKeywords, failure: Exception) -> bool:
    """Whether it is the service that failed, not the request, and the training is to outlast that."""
    if options.get("on_failure", "warn") != "warn" or not isinstance(failure, ShadowkeepError):
        return False
    is_request = isinstance(failure, InvalidArgumentError | FailedPreconditionError) and failure.reason not in _LOST
    return is_tolerable(failure) and not is_request and failure.reason != "AVERAGE_NOT_FOUND"


def _unread(problem: str) -> Evaluated:
    return Evaluated(None, f"the average cannot be read ({problem}): {OWN_WEIGHTS}")
