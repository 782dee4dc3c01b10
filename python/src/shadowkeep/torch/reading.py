"""The receiving side of an `EMA`: from the service's averages to the model's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from ..averages import Average
from ..client import Client
from ..layout import PolicyName, name_matcher
from .dtypes import read_dtype
from .load import Pairs, pair_all, pair_up
from .names import NamedTensor, named_tensors


class AverageReader:
    """Reads a run's averages for one model.

    Attributes:
        averages: the run's averages as far as they are known here, the first one is the default.
        policies: the policy of each tensor that the trainer sends. None: this process does not know them, so everything
            is read, and must be there.
    """

    def __init__(self, client: Client, run: str, model: nn.Module) -> None:
        self.averages: Sequence[Average] = ()
        self.policies: Mapping[str, PolicyName] | None = None
        self._client = client
        self._run = run
        self._model = model

    def read(self, average: str | None, min_step: int | None, timeout: float) -> Pairs:
        """Return the model's tensors, each with that of the average (None: the first one)."""
        tensors = self._wanted()
        rule = next((rule for rule in self.averages if average in (None, rule.name)), None)
        shadow = self._client.get_shadow(
            self._run,
            average if rule is None else rule.name,
            min_step=min_step,
            timeout=timeout,
            dtype=read_dtype(tensors),
            names=self._names(tensors, rule),
        )
        return pair_all(shadow, self._model, tensors) if self.policies is None else pair_up(shadow, tensors)

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


def _takes(rule: Average, name: str) -> bool:
    included = not rule.include or any(name_matcher(pattern).fullmatch(name) for pattern in rule.include)
    return included and not any(name_matcher(pattern).fullmatch(name) for pattern in rule.exclude)
