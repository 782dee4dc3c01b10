"""Sees whether a model still has the modules, parameters and buffers that it had, in about a microsecond a module."""

from __future__ import annotations

from typing import Any

from torch import nn

from .wrappers import walk


class Structure:
    """What hangs where in a model, by identity: children, parameters and buffers of each module, and their names.

    Writes into tensors, through `.data`, too, do not change it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.look()

    def look(self) -> None:
        """Take the model as it is now."""
        modules = {id(module): module for _, _, module in walk(self._model)}
        self._rows = [(module, _parts(module)) for module in modules.values()]
        # What was seen is kept, so that nothing new gets the identity of something that is gone.
        self._seen = [[*module._parameters.values(), *module._buffers.values()] for module in modules.values()]

    def is_same(self) -> bool:
        """Return whether nothing was added, removed, renamed or replaced since the last look."""
        return all(_parts(module) == parts for module, parts in self._rows)


def _parts(module: nn.Module) -> list[Any]:
    children, parameters, buffers = module._modules, module._parameters, module._buffers
    parts: list[Any] = [
        *children.keys(), *map(id, children.values()), None,
        *parameters.keys(), *map(id, parameters.values()), None,
        *buffers.keys(), *map(id, buffers.values()),
    ]  # fmt: skip
    if module._non_persistent_buffers_set:
        parts.append(frozenset(module._non_persistent_buffers_set))
    return parts
