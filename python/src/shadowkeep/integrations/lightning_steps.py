"""How the Lightning callback hears of each optimizer step; Lightning's own hooks tell of batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Trainer


class OptimizerSteps:
    """Calls `after(steps_before, skipped)` for each step of a trainer's optimizers, until `stop`.

    It is called as late as the weights are still those of the step: before the next one, or at the end of the batch,
    where `settle` says so. What a module's own `optimizer_step` does to them after the step, as a projection, is in.

    Steps go through `Strategy.optimizer_step`, in automatic and in manual optimization. There a gradient scaler has
    had its say when it returns: it does not call the optimizer's own `step` for gradients with infinities, or that step
    does nothing (fused optimizers), and the scale falls. Raw optimizers (`use_pl_optimizer=False`) are stepped by hand.

    Args:
        trainer: when its optimizers are set up.
        after: is told the trainer's `global_step` before the step, and whether the optimizer has skipped it.
        optimizer: index of the one whose steps count; None: all of them.
    """

    def __init__(self, trainer: Trainer, after: Callable[[int, bool], None], optimizer: int | None) -> None:
        optimizers = list(trainer.optimizers)
        if optimizer is not None and not 0 <= optimizer < len(optimizers):
            raise ValueError(f"optimizer must be below the number of optimizers, {len(optimizers)}, got {optimizer}")
        self._counted = [entry for i, entry in enumerate(optimizers) if optimizer in (None, i)]
        self._after = after
        self._trainer = trainer
        self._made: tuple[int, bool] | None = None
        self._strategy: Any = trainer.strategy
        self._scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
        self._stepping: Any = None
        self._has_stepped = False
        self._step: Callable[..., Any] = self._strategy.optimizer_step
        self._own_step = self._optimizer_step
        strategy: Any = self._strategy
        strategy.optimizer_step = self._own_step
        self._hooks = [
            entry.register_step_post_hook(self._on_step)
            for entry in self._counted
            if hasattr(entry, "register_step_post_hook")
        ]
        self._hooks += [
            entry.register_step_pre_hook(lambda *_: self.settle())
            for entry in optimizers
            if hasattr(entry, "register_step_pre_hook")
        ]

    def settle(self) -> None:
        """Call `after` for the step that was made last, if that was not done yet."""
        made, self._made = self._made, None
        if made is not None:
            self._after(*made)

    def stop(self) -> None:
        """Leave the trainer as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._counted = []
        # Another callback may have come on top of this one; with nothing to count it only passes steps on.
        if self._strategy.optimizer_step is self._own_step:
            self._strategy.optimizer_step = self._step

    def _optimizer_step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        self.settle()
        if not any(optimizer is counted for counted in self._counted):
            return self._step(optimizer, *args, **kwargs)
        self._stepping, self._has_stepped = optimizer, False
        is_told_by_scale = self._scaler is not None and (
            not hasattr(optimizer, "register_step_post_hook") or getattr(optimizer, "_step_supports_amp_scaling", False)
        )
        before = self._scaler.get_scale() if is_told_by_scale else 0.0
        try:
            output = self._step(optimizer, *args, **kwargs)
        finally:
            self._stepping = None
        if is_told_by_scale:
            self._note(self._scaler.get_scale() < before)
        else:
            self._note(not self._has_stepped and hasattr(optimizer, "register_step_post_hook"))
        return output

    def _on_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if optimizer is self._stepping:
            self._has_stepped = True
        else:
            self._note(False)

    def _note(self, skipped: bool) -> None:
        # Lightning counts the step when it is over; raw optimizers' steps it does not count.
        self._made = self._trainer.global_step, skipped
