"""Lightning: a callback that pushes after each optimizer step and evaluates with the average."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from ..client import Client
from ..torch import EMA, EMAOptions
from .ranks import agreed_step


class ShadowkeepEMA(Callback):
    """Keeps averages of a LightningModule in a Shadowkeep service.

        trainer = Trainer(callbacks=[ShadowkeepEMA("127.0.0.1:50051", run="my-run", decay=0.999)])

    One update is pushed per optimizer step, under `trainer.global_step`, however many batches were accumulated for it;
    steps that a gradient scaler skipped are not folded. The run is opened when training starts, after a checkpoint was
    restored: a run that has commits goes on, or as the option `resume` says. Checkpoints contain the raw weights. Of
    several processes each pushes its part, with DDPStrategy, FSDPStrategy and ModelParallelStrategy.

    Args:
        target: "HOST:PORT" of the service, or a client.
        run: the run's name.
        swap: validate, test and predict with the average, also outside of `fit`, then with the newest one of the run;
            not in the sanity check before training.
        average: the one to evaluate with; None: the first.
        options: the keyword arguments of `shadowkeep.torch.EMA`.

    Attributes:
        ema: the `EMA` while training, else None.
    """

    def __init__(
        self,
        target: str | Client,
        *,
        run: str,
        swap: bool = True,
        average: str | None = None,
        **options: Unpack[EMAOptions],
    ) -> None:
        self.ema: EMA | None = None
        self._target = target
        self._run = run
        self._swap = swap
        self._average = average
        self._options = options
        self._updated_step = 0
        self._applied: EMA | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run."""
        scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
        model = _wrapped(trainer, pl_module)
        self.ema = EMA(model, self._target, run=self._run, scaler=scaler, **self._options)
        self.ema.register(trainer.global_step)
        self._updated_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Push the weights when the optimizer has stepped."""
        if self.ema is not None and trainer.global_step > self._updated_step:
            self._updated_step = trainer.global_step
            self.ema.update(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait until everything is acknowledged."""
        ema, self.ema = self.ema, None
        if ema is not None:
            ema.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the raw weights back, and end the stream at once."""
        self._restore()
        ema, self.ema = self.ema, None
        if ema is not None:
            ema.abandon()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the average."""
        if not trainer.sanity_checking:
            self._apply(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the raw weights back."""
        self._restore()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the average."""
        self._apply(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the raw weights back."""
        self._restore()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the average."""
        self._apply(trainer, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the raw weights back."""
        self._restore()

    def _apply(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._swap:
            return
        model = _wrapped(trainer, pl_module)
        ema = self.ema or EMA(model, self._target, run=self._run, replica=True, **self._options)
        ema.apply_shadow(self._average, step=agreed_step(ema))
        self._applied = ema

    def _restore(self) -> None:
        ema, self._applied = self._applied, None
        if ema is not None:
            ema.restore()
            if ema is not self.ema:
                ema.close()


def _wrapped(trainer: Trainer, pl_module: LightningModule) -> nn.Module:
    """Return the module with what a strategy has wrapped around it: FSDP's outermost part has weights of it."""
    model: nn.Module = trainer.model or pl_module
    return model
