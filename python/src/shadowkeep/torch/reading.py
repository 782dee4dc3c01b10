"""The receiving side of an `EMA`: from the service's averages to the model's tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import nn

from ..averages import Average
from ..boxes import Box
from ..client import Client
from ..layout import PolicyName, name_matcher
from ..shadow import Shadow
from ..wire import Policy
from .dtypes import read_dtype
from .load import Pairs, check_names, check_shape, local_pieces, pair_all, pair_up, shadow_views
from .names import NamedTensor, named_tensors
from .regions import Piece

_Held = tuple[NamedTensor, Piece, torch.Tensor]


class _Rule(Protocol):
    """An average as the trainer has it, or as the service describes it."""

    @property
    def include(self) -> Sequence[str]: ...
    @property
    def exclude(self) -> Sequence[str]: ...


class AverageReader:
    """Reads a run's averages for one model: of a sharded one only what is in this process's memory.

    Attributes:
        run: the run's name.
        averages: the run's averages as far as they are known here, the first one is the default.
        policies: the policy of each tensor that the trainer sends. None: this process does not know them, so everything
            is read, and must be there.
    """

    def __init__(self, client: Client, run: str, model: nn.Module) -> None:
        self.averages: Sequence[Average] = ()
        self.policies: Mapping[str, PolicyName] | None = None
        self._client = client
        self.run = run
        self._model = model

    def read(self, average: str | None, step: int | None, min_step: int | None, timeout: float) -> Pairs:
        """Return what is here of the model's tensors, each with that of the average (None: the first one).

        Args:
            average: its name.
            step: exactly this step.
            min_step: at least this step.
            timeout: seconds to wait for it.
        """
        tensors = self._wanted()
        rule = next((rule for rule in self.averages if average in (None, rule.name)), None)
        name = average if rule is None else rule.name
        read = partial(self._client.get_shadow, self.run, name, step=step, min_step=min_step, timeout=timeout)
        held = [(named, piece, view) for named in tensors for piece, view in local_pieces(named)]
        if any(piece.extent != named.shape for named, piece, _ in held) or len(held) < len(tensors):
            return self._read_held(partial(read, dtype=read_dtype(tensors)), tensors, held, name)
        shadow = read(dtype=read_dtype(tensors), names=self._names(tensors, rule))
        return pair_all(shadow, tensors) if self.policies is None else pair_up(shadow, tensors)

    def _read_held(
        self, read: Callable[..., Shadow], tensors: Sequence[NamedTensor], held: Sequence[_Held], average: str | None
    ) -> Pairs:
        """Read just the boxes of a sharded model that are here; which ones the run has, it is asked for."""
        shapes = self._shapes(average)
        if self.policies is None:
            check_names(self.run, list(shapes), tensors)
        for named in tensors:
            if named.name in shapes:
                check_shape(named, shapes[named.name])
        present = [(named.name, piece, view) for named, piece, view in held if named.name in shapes]
        if not present:
            return []
        shadow = read(boxes=[Box(name, piece.offset, piece.extent) for name, piece, _ in present])
        return [(view, source) for (_, _, view), source in zip(present, shadow_views(shadow), strict=True)]

    def _shapes(self, average: str | None) -> dict[str, Sequence[int]]:
        """Return the shapes of the tensors that an average (None: the only one) has."""
        run = self._client.get_run(self.run)
        rule = next((rule for rule in run.averages if average in (None, rule.name)), None)
        return {
            tensor.name: tensor.shape
            for tensor in run.tensors
            if tensor.policy != Policy.IGNORE
            and (tensor.policy != Policy.AVERAGE or rule is None or _takes(rule, tensor.name))
        }

    def _wanted(self) -> list[NamedTensor]:
        """Return the tensors that an average may change; the model has those already that are sent once."""
        tensors = named_tensors(self._model, "copy")
        if self.policies is None:
            return tensors
        named_policies = [(named, self.policies.get(named.name)) for named in tensors]
        return [replace(named, policy=policy) for named, policy in named_policies if policy not in (None, "COPY_ONCE")]

    def _names(self, tensors: Sequence[NamedTensor], rule: Average | None) -> list[str] | None:
        """Return what to ask for, so that frozen tensors cost nothing; of an unknown average everything is read."""
        if rule is None or self.policies is None or "COPY_ONCE" not in self.policies.values():
            return None
        return [named.name for named in tensors if named.policy != "AVERAGE" or _takes(rule, named.name)]


def _takes(rule: _Rule, name: str) -> bool:
    included = not rule.include or any(name_matcher(pattern).fullmatch(name) for pattern in rule.include)
    return included and not any(name_matcher(pattern).fullmatch(name) for pattern in rule.exclude)
