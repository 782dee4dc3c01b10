"""The raw weights while a shadow is in their place."""

from __future__ import annotations

import torch

from .load import Pairs, copy_into


class WeightSwap:
    """Keeps the raw weights, by value, from the first `apply` to `restore`; applying again does not touch them."""

    def __init__(self) -> None:
        self._raw: Pairs | None = None

    @property
    def applied(self) -> bool:
        """Whether a shadow is in the model."""
        return self._raw is not None

    @torch.no_grad()
    def apply(self, pairs: Pairs) -> None:
        """Copy each pair's second tensor into its first, the model's."""
        if self._raw is None:
            self._raw = [(tensor, tensor.detach().clone()) for tensor, _ in pairs]
        copy_into(pairs)

    def restore(self) -> None:
        """Put the raw weights back. Raises RuntimeError when there are none."""
        if self._raw is None:
            raise RuntimeError("restore() without apply_shadow(): there are no raw weights to put back")
        copy_into(self._raw)
        self._raw = None
