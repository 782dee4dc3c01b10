"""Finds out whether a gradient scaler let the optimizer step."""

from __future__ import annotations

from typing import Protocol


class LossScaler(Protocol):
    """`torch.amp.GradScaler`, or another that lowers its scale just when it skips a step."""

    def get_scale(self) -> float:
        """Return the scale."""
        ...


class ScaleWatch:
    """Compares the scale with that of the last look: `GradScaler.update()` lowers it after a skipped step only.

    Hooks of the optimizer would not do: a fused one is called with infinite gradients, too, and skips by itself.
    """

    def __init__(self, scaler: LossScaler) -> None:
        self._scaler = scaler
        self._scale = scaler.get_scale()

    def skipped(self) -> bool:
        """Return whether the step since the last call was skipped; call it once after each `scaler.update()`."""
        before, self._scale = self._scale, self._scaler.get_scale()
        return self._scale < before
