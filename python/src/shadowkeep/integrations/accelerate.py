"""Accelerate: an `EMA` that asks the accelerator when to push, and whether."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from torch import nn

from ..client import Client
from ..torch import EMA, EMAOptions

if TYPE_CHECKING:
    from accelerate import Accelerator


class AcceleratedEMA(EMA):
    """`shadowkeep.torch.EMA` in a loop of Accelerate: the same calls, in every process.

        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        with AcceleratedEMA(accelerator, model, "127.0.0.1:50051", run="my-run", decay=0.999) as ema:
            ema.register()
            for batch in loader:
                with accelerator.accumulate(model):
                    ...                   # forward, accelerator.backward, optimizer.step()
                    ema.update()          # pushes when the gradients were synchronized

    Steps that the gradient scaler skipped are not folded. Each process pushes its part, under DDP and FSDP, and all
    apply the same step. DeepSpeed's ZeRO 3 is not supported.

    Args:
        accelerator: the one that prepared the model.
        model: prepared or not.
        target: "HOST:PORT" of the service, or a client.
        run: the run's name.
        options: the keyword arguments of `shadowkeep.torch.EMA`.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        target: str | Client,
        *,
        run: str,
        **options: Unpack[EMAOptions],
    ) -> None:
        super().__init__(model, target, run=run, **options)
        self._accelerator = accelerator

    def update(self, step: int | None = None, *, skipped: bool = False) -> bool:
        """As `EMA.update` after an optimizer step; does nothing while gradients are accumulated."""
        if not self._accelerator.sync_gradients:
            return False
        return super().update(step, skipped=skipped or self._accelerator.optimizer_step_was_skipped)
