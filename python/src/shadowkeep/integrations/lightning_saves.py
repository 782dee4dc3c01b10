"""How the Lightning callback keeps averages out of checkpoints that are saved while one is applied."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ..torch import EMA


class AveragingCallback(Callback):
    """A callback that may have an average in the model; what its trainer saves has the raw weights all the same."""

    _applied: EMA | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stand before the trainer's saves; `on_save_checkpoint` is not called for weights alone, nor for shards."""
        if not isinstance(trainer.save_checkpoint, _RawSaves):
            saving: Any = trainer
            saving.save_checkpoint = _RawSaves(trainer)


class _RawSaves:
    """Takes the place of a trainer's `save_checkpoint`, for all its callbacks; with nothing applied it passes on."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._save = trainer.save_checkpoint

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        callbacks = [entry for entry in self._trainer.callbacks if isinstance(entry, AveragingCallback)]  # type: ignore[attr-defined]
        with ExitStack() as stack:
            # What came last is taken out first.
            for callback in reversed(callbacks):
                if callback._applied is not None and callback._applied.applied:
                    stack.enter_context(callback._applied.raw_parameters())
            self._save(*args, **kwargs)
