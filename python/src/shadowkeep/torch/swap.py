"""The raw weights while a shadow is in their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from .ambient import plain_torch
from .load import Copy, Fill, copies_of, copy_all, raw_values
from .putback import Before, Kept
from .wrappers import Names


class WeightSwap:
    """Keeps the raw weights, by value, from the first `apply` to `restore`; applying again does not touch them.

    Args:
        model: what the weights are of.
        names: as in `EMA`.
    """

    def __init__(self, model: nn.Module, names: Names | None = None) -> None:
        self._model = model
        self._names = names
        self._kept: dict[str, Kept] = {}
        self._before: Before | None = None

    @property
    def applied(self) -> bool:
        """Whether a shadow is in the model."""
        return self._before is not None

    def apply(self, fills: Sequence[Fill]) -> None:
        """Write the values of a shadow; what only an earlier one has changed gets its raw values back.

        When anything fails the model is as it was before.
        """
        with plain_torch():
            before = self._before or Before(self._model, self._names)
            # Checked as a whole, before anything is kept or written.
            copies = copies_of(fills)
            names = {fill.named.name for fill in fills}
            fresh = {
                fill.named.name: Kept.of(fill.named, raw_values(fill))
                for fill in fills
                if fill.named.name not in self._kept
            }
            again = [fill for fill in fills if fill.named.name in self._kept]
            back = [kept.raw for name, kept in self._kept.items() if name not in names]
            undo = copies_of([kept.raw for kept in fresh.values()])
            undo += [Copy(target, target.clone()) for target, _ in copies_of([*again, *back])]
            was = self._kept, self._before
            # From here on, so that an exception at any point leaves what `restore` needs.
            self._kept, self._before = self._kept | fresh, before
            try:
                copy_all([*copies, *copies_of(back)])
            except BaseException:
                copy_all(undo)
                self._kept, self._before = was
                raise

    @contextmanager
    def raw(self) -> Iterator[None]:
        """Put the raw weights back for a `with` block, and the shadow again after it, if one is applied."""
        if self._before is None:
            yield
            return
        with plain_torch():
            shadow = [raw_values(kept.raw) for kept in self._kept.values()]
        self.restore()
        try:
            yield
        finally:
            self.apply(shadow)

    def restore(self) -> None:
        """Put the raw weights back; see `Before.put_back`. Raises RuntimeError when there are none."""
        if self._before is None:
            raise RuntimeError("restore() without apply_shadow(): there are no raw weights to put back")
        with plain_torch():
            self._before.put_back(self._kept.values())
        self._before, self._kept = None, {}
