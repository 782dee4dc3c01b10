"""Finds out whether a gradient scaler let the optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from .weights import Weights


class LossScaler(Protocol):
    """`torch.amp.GradScaler`, or another that lowers its scale when it skips a step."""

    def get_scale(self) -> float:
        """Return the scale."""
        ...


class ScaleWatch:
    """Sees a lower scale than at the last look, and whether the optimizer of these weights has stepped all the same.

    A scale falls, too, when a checkpoint of the scaler is loaded, when `update(new_scale=...)` says so, or when it is
    the gradients of another optimizer that were infinite. So a hook notes the steps of the optimizers that train these
    weights. A fused one is called with infinite gradients, too, and skips by itself: it has been told so (`found_inf`).
    Of optimizers that run no hooks the scale is all that is known.

    Args:
        scaler: the scaler.
        model: the optimizers of its parameters count.
        weights: as in `EMA`; where they are a mapping, the optimizers of these, too.
    """

    def __init__(self, scaler: LossScaler, model: nn.Module, weights: Weights | None) -> None:
        self._scaler = scaler
        self._scale = scaler.get_scale()
        self._model = model
        self._weights = weights
        self._is_own: WeakKeyDictionary[Optimizer, bool] = WeakKeyDictionary()
        self._has_stepped = False
        # The least that fused optimizers were told: 0 when one of their steps was taken. Not read before it is needed.
        self._found_inf: torch.Tensor | None = None
        watch = ref(self)

        def after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            own = watch()
            if own is not None:
                own._note(optimizer)

        self._hook = register_optimizer_step_post_hook(after_step)

    def skipped(self) -> bool:
        """Return whether the step since the last call was skipped; call it once after each `scaler.update()`."""
        before, self._scale = self._scale, self._scaler.get_scale()
        stepped, found_inf = self._has_stepped, self._found_inf
        self._has_stepped, self._found_inf = False, None
        if self._scale >= before or stepped:
            return False
        return found_inf is None or bool(found_inf)

    def close(self) -> None:
        """Remove the hook."""
        self._hook.remove()

    def _note(self, optimizer: Optimizer) -> None:
        if optimizer not in self._is_own:
            given = self._weights.values() if isinstance(self._weights, Mapping) else ()
            trained = {id(tensor) for tensor in (*self._model.parameters(), *given)}
            parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
            self._is_own[optimizer] = any(id(parameter) in trained for parameter in parameters)
        if not self._is_own[optimizer]:
            return
        found_inf: torch.Tensor | None = getattr(optimizer, "found_inf", None)
        if found_inf is None:
            self._has_stepped = True
        elif self._found_inf is None:
            self._found_inf = found_inf.clone()
        else:
            self._found_inf = torch.minimum(self._found_inf, found_inf)
