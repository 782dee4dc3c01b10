"""Keywords and options, by name with their types and defaults, so that a test can compare them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

Typed = dict[str, tuple[Any, Any]]


def keywords_of(function: Callable[..., Any]) -> Typed:
    """Return what a function takes by keyword only."""
    types = get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    return {
        parameter.name: (types[parameter.name], parameter.default)
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def options_of(options: type) -> Typed:
    """Return the fields of a dataclass."""
    types = get_type_hints(options)
    return {field.name: (types[field.name], field.default) for field in fields(options)}
