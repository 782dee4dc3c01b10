"""The receiving side of an `EMA`: from the service's averages to the model's tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from torch import nn

from ..averages import Average
from ..boxes import Box
from ..client import Client
from ..layout import PolicyName, name_matcher
from ..shadow import Shadow
from ..wire import Policy
from .dtypes import read_dtype
from .load import Fill, check_names, check_shape, fills_of, local_pieces, shadow_views
from .names import BuffersPolicy, NamedTensor, named_tensors
from .readable import problem_of
from .regions import Piece
from .wrappers import Names

_Held = tuple[NamedTensor, list[Piece]]


class _Rule(Protocol):
    """An average as the trainer has it, or as the service describes it."""

    @property
    def include(self) -> Sequence[str]: ...
    @property
    def exclude(self) -> Sequence[str]: ...


class AverageReader:
    """Reads a run's averages for one model: of a sharded one only what is in this process's memory.

    Args:
        client: for reading.
        run: the run's name.
        model: what the averages are read for.
        names: as in `EMA`.
        buffers: as in `EMA`.
        left_out: policies as in `EMA`. What is ignored is left out where this process does not send.

    Attributes:
        run: the run's name.
        averages: the run's averages as far as they are known here, the first one is the default.
        policies: the policy of each tensor that the trainer sends. None: this process does not know them, so everything
            that the run has is read, and each must have what the other has.
    """

    def __init__(
        self,
        client: Client,
        run: str,
        model: nn.Module,
        names: Names | None,
        buffers: BuffersPolicy,
        left_out: Mapping[str, PolicyName] | None,
    ) -> None:
        self.averages: Sequence[Average] = ()
        self.policies: Mapping[str, PolicyName] | None = None
        self._client = client
        self.run = run
        self._model = model
        self._names = names
        self._buffers: BuffersPolicy = "ignore" if buffers == "ignore" else "copy"
        self._left_out: dict[str, PolicyName] = {
            pattern: "IGNORE" if policy == "IGNORE" else "COPY" for pattern, policy in (left_out or {}).items()
        }

    def title(self, average: str | None) -> str:
        """Return which average that is (None: the first one), in words."""
        name = average or (self.averages[0].name if self.averages else None)
        return f"the average of run {self.run!r}" if name is None else f"average {name!r} of run {self.run!r}"

    def read(self, average: str | None, step: int | None, min_step: int | None, timeout: float) -> list[Fill]:
        """Return the values of an average (None: the first one) for what is here of the model's tensors.

        Args:
            average: its name.
            step: exactly this step.
            min_step: at least this step.
            timeout: seconds to wait for it.
        """
        tensors = self._wanted()
        if self.policies is None:
            self._check_run(tensors)
        rule = next((rule for rule in self.averages if average in (None, rule.name)), None)
        name = average if rule is None else rule.name
        read = partial(self._client.get_shadow, self.run, name, step=step, min_step=min_step, timeout=timeout)
        held = [(named, local_pieces(named)) for named in tensors if problem_of(named.tensor) is None]
        if any([piece.extent for piece in pieces] != [named.shape] for named, pieces in held):
            return self._read_held(partial(read, dtype=read_dtype(tensors)), tensors, held, name)
        shadow = read(dtype=read_dtype(tensors), names=self._included(tensors, rule))
        return fills_of(shadow, tensors)

    def _read_held(
        self, read: Callable[..., Shadow], tensors: Sequence[NamedTensor], held: Sequence[_Held], average: str | None
    ) -> list[Fill]:
        """Read just the boxes of a sharded model that are here; which ones the run has, it is asked for."""
        shapes = self._shapes(average)
        theirs = {named.name: name for named in tensors for name in reversed(named.names) if name in shapes}
        for named in tensors:
            if named.name in theirs:
                check_shape(named, shapes[theirs[named.name]])
        present = [(named, piece) for named, pieces in held if named.name in theirs for piece in pieces]
        if not present:
            return []
        shadow = read(boxes=[Box(theirs[named.name], piece.offset, piece.extent) for named, piece in present])
        fills = {named.name: Fill(named, []) for named, _ in present}
        for (named, piece), source in zip(present, shadow_views(shadow), strict=True):
            fills[named.name].values.append((piece, source))
        return list(fills.values())

    def _check_run(self, tensors: Sequence[NamedTensor]) -> None:
        """Look whether the run has these parameters, and the model what the run has. Raises LAYOUT_MISMATCH."""
        everything = named_tensors(self._model, "copy", names=self._names)
        left_out = {name for named in everything for name in named.names}
        left_out -= {name for named in tensors for name in named.names}
        held = [tensor.name for tensor in self._client.get_run(self.run).tensors if tensor.policy != Policy.IGNORE]
        check_names(self.run, [name for name in held if name not in left_out], tensors)

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
        if self.policies is None:
            return named_tensors(
                self._model, self._buffers, policies=self._left_out, names=self._names, any_pattern=True
            )
        tensors = named_tensors(self._model, "copy", names=self._names)
        named_policies = [(named, self._policy(named)) for named in tensors]
        return [replace(named, policy=policy) for named, policy in named_policies if policy not in (None, "COPY_ONCE")]

    def _policy(self, named: NamedTensor) -> PolicyName | None:
        """Return the policy that a tensor was registered with; of several, tied since then, the first."""
        policies = self.policies or {}
        return next((policies[name] for name in named.names if name in policies), None)

    def _included(self, tensors: Sequence[NamedTensor], rule: Average | None) -> list[str] | None:
        """Return what to ask for, so that frozen tensors cost nothing; of an unknown average everything is read."""
        if rule is None or self.policies is None or "COPY_ONCE" not in self.policies.values():
            return None
        registered = [next(name for name in named.names if name in self.policies) for named in tensors]
        pairs = zip(registered, tensors, strict=True)
        return [name for name, named in pairs if named.policy != "AVERAGE" or _takes(rule, name)]


def _takes(rule: _Rule, name: str) -> bool:
    included = not rule.include or any(name_matcher(pattern).fullmatch(name) for pattern in rule.include)
    return included and not any(name_matcher(pattern).fullmatch(name) for pattern in rule.exclude)
