"""The raw weights while a shadow is in their place."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakValueDictionary

from torch import nn

from .ambient import plain_torch
from .load import Copy, Fill, copies_of, copy_all, raw_values
from .names import NamedTensor
from .putback import Before, Kept
from .slots import ModuleSlot
from .wrappers import Names

# All of this process, by identity: what one has put into a model concerns the others of the same tensors.
_swaps: WeakValueDictionary[int, WeightSwap] = WeakValueDictionary()


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
        self._shadow = ""
        _swaps[id(self)] = self

    @property
    def applied(self) -> bool:
        """Whether a shadow is in the model."""
        return self._before is not None

    def check_raw(self, tensors: Iterable[NamedTensor], what: str) -> None:
        """Raise RuntimeError, which names both, when another swap has put a shadow into one of these tensors.

        Args:
            tensors: those that `what` would read or overwrite.
            what: what is about to be done with the weights.
        """
        others = [swap for ref in _swaps.valuerefs() if (swap := ref()) is not None and swap is not self]
        others = [swap for swap in others if swap.applied]
        if not others:
            return
        wanted = {key for named in tensors for key in _keys(named)}
        for swap in others:
            if any(key in wanted for kept in swap._kept.values() for key in _kept_keys(kept)):
                raise RuntimeError(
                    f"{what} needs the raw weights, but {swap._shadow} is in the model, which another EMA has applied: "
                    "call restore() of that one first (or leave its block); a model has one average at a time"
                )

    def apply(self, fills: Sequence[Fill], shadow: str) -> None:
        """Write the values of a shadow; what only an earlier one has changed gets its raw values back.

        When anything fails the model is as it was before.

        Args:
            fills: the values.
            shadow: what they are, for errors.

        Raises:
            RuntimeError: another swap has put a shadow into these tensors.
        """
        self.check_raw((fill.named for fill in fills), shadow)
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
            self._kept, self._before, self._shadow = self._kept | fresh, before, shadow
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
            self.apply(shadow, self._shadow)

    def restore(self) -> None:
        """Put the raw weights back; see `Before.put_back`. Raises RuntimeError when there are none.

        After an exception in the middle a second call does it.
        """
        if self._before is None:
            raise RuntimeError("restore() without apply_shadow(): there are no raw weights to put back")
        with plain_torch():
            changes = self._before.put_back(self._kept.values())
        self._before, self._kept = None, {}
        # After the end, as a filter may make an error of it.
        if changes is not None:
            warnings.warn(changes, RuntimeWarning, stacklevel=3)


def _keys(named: NamedTensor) -> Iterator[object]:
    """Yield what two models have in common where one's tensor is the other's: the tensor, and its places."""
    for slot in (named.slot, *named.ties):
        if isinstance(slot, ModuleSlot):
            yield id(slot.current)
            yield id(slot.module), slot.leaf
        else:
            yield slot.key


def _kept_keys(kept: Kept) -> Iterator[object]:
    """Yield the same of raw values: of the tensors as they were taken, wherever they stand by now."""
    for slot, tensor in kept.places:
        yield id(tensor)
        yield id(slot.module), slot.leaf
    named = kept.raw.named
    yield from (slot.key for slot in (named.slot, *named.ties) if not isinstance(slot, ModuleSlot))
