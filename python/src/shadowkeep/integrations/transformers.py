"""Hugging Face `Trainer`: a callback that pushes after each optimizer step, and evaluation with the average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Unpack

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..client import Client
from ..torch import EMA, EMAOptions
from .ranks import agreed_step


class ShadowkeepCallback(TrainerCallback):
    """Keeps averages of a `Trainer`'s model in a Shadowkeep service.

        callback = ShadowkeepCallback("127.0.0.1:50051", run="my-run", decay=0.999)
        trainer = Trainer(model, args, ..., callbacks=[callback])
        callback.evaluate_with_average(trainer)  # by choice
        trainer.train()

    One update is pushed per optimizer step, under `state.global_step`, however many batches were accumulated for it;
    steps that a gradient scaler skipped are not folded. A run that has commits goes on, or as the option `resume` says.
    Checkpoints contain the raw weights. Of several processes each pushes its part, under DDP and FSDP. DeepSpeed's
    ZeRO 3 is not supported.

    `Trainer` tells its callbacks of the end of a training, not of its failure: call `abandon()` when `train()` raises,
    or let the process end.

    Args:
        target: "HOST:PORT" of the service, or a client.
        run: the run's name.
        average: the one to evaluate with; None: the first.
        options: the keyword arguments of `shadowkeep.torch.EMA`.

    Attributes:
        ema: the `EMA` while training, else None.
    """

    def __init__(
        self, target: str | Client, *, run: str, average: str | None = None, **options: Unpack[EMAOptions]
    ) -> None:
        self.ema: EMA | None = None
        self._target = target
        self._run = run
        self._average = average
        self._options = options
        self._evaluating = False

    def evaluate_with_average(self, trainer: Trainer) -> None:
        """Make `trainer.evaluate` and `trainer.predict` use the average, in and after training.

        The callbacks of `Trainer` hear of an evaluation when it is over, so its methods are wrapped, on this object.
        After training, and before it, they use the newest average of the run.
        """
        for method in ("evaluate", "predict"):
            setattr(trainer, method, self._averaged(trainer, getattr(trainer, method)))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the run."""
        self.abandon()
        self.ema = EMA(kwargs["model"], self._target, run=self._run, **self._options)
        self.ema.register(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Push the weights; `Trainer` calls this when the optimizer was due, not for each accumulated batch."""
        if self.ema is not None:
            skipped = bool(getattr(kwargs.get("optimizer"), "step_was_skipped", False))
            self.ema.update(state.global_step, skipped=skipped)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait until everything is acknowledged."""
        ema, self.ema = self.ema, None
        if ema is not None:
            ema.close()

    def abandon(self) -> None:
        """End the stream at once, after a training that failed."""
        ema, self.ema = self.ema, None
        if ema is not None:
            ema.abandon()

    def _averaged(self, trainer: Trainer, evaluate: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(evaluate)
        def evaluate_average(*args: Any, **kwargs: Any) -> Any:
            with self._applied(trainer):
                return evaluate(*args, **kwargs)

        return evaluate_average

    @contextmanager
    def _applied(self, trainer: Trainer) -> Iterator[None]:
        """Apply the average once around calls that call each other, as with several evaluation sets."""
        if self._evaluating:
            yield
            return
        ema = self.ema or EMA(_model_of(trainer), self._target, run=self._run, replica=True, **self._options)
        try:
            ema.apply_shadow(self._average, step=agreed_step(ema))
            self._evaluating = True
            yield
        finally:
            self._evaluating = False
            if ema.applied:
                ema.restore()
            if ema is not self.ema:
                ema.close()


def _model_of(trainer: Trainer) -> nn.Module:
    model: nn.Module | None = trainer.model
    if model is None:
        raise RuntimeError("the Trainer has no model: it is made by `model_init` when training begins")
    return model
