"""What makes a function a preset: it takes a peer's own options and says which of them were given."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ParamSpec, TypedDict, TypeVar, cast

from .average import Average
from .rule import BuffersName, PrecisionName

P = ParamSpec("P")
R = TypeVar("R", Average, list[Average])


class PresetOptions(TypedDict, total=False):
    """What every preset takes besides the peer's own options.

    Attributes:
        name: the average's name in the run; the preset's when it is not given.
        precision: F32 or F64, the dtype of the shadow and of its arithmetic.
        include: name patterns of the tensors that it averages; none: all.
        exclude: patterns of those that it does not.
    """

    name: str
    precision: PrecisionName
    include: Sequence[str]
    exclude: Sequence[str]


def preset(*, buffers: BuffersName) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function of a peer's options, all by keyword, the rest of what a preset does.

    The preset's name is the function's (timm_v3: timm-v3). It is the average's default name, stands before each error,
    and begins the average's `preset`, the text that `shadowkeep describe` shows and the command line takes.

    Args:
        buffers: what the peer does with a model's buffers, where none of its options says that.
    """

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        name = make.__name__.replace("_", "-")
        common: list[str] = list(PresetOptions.__annotations__)
        parameters = inspect.signature(make).parameters.values()
        own: list[str] = [row.name for row in parameters if row.kind == row.KEYWORD_ONLY]

        @functools.wraps(make)
        def expand(*args: P.args, **options: P.kwargs) -> R:
            if args:
                raise TypeError(f"preset {name}: options are given by keyword, got {args[0]!r}")
            for option in options:
                if option not in own and option not in common:
                    raise TypeError(f"preset {name} has no option {option!r}, it has {', '.join([*own, *common])}")
            given = ",".join(f"{option}={option_text(options[option])}" for option in own if option in options)
            text = f"{name}:{given}" if given else name
            try:
                made = make(*args, **{"name": name, **options})  # type: ignore[arg-type]
            except (TypeError, ValueError) as error:
                raise type(error)(f"preset {name}: {error}") from None
            if isinstance(made, Average):
                return _finished(made, text, buffers)
            return cast(R, [_finished(average, text, buffers) for average in made])

        return expand

    return decorate


def averaged_buffers(averaged: bool) -> BuffersName:
    """Return what becomes of buffers by a peer's option that averages those of floating-point."""
    return "average" if averaged else "copy"


def _finished(average: Average, text: str, buffers: BuffersName) -> Average:
    return replace(average, preset=text, buffers=average.buffers or buffers)


def option_text(value: Any) -> str:
    """Write an option's value as the command line takes it: 0.9998, true, none, 0.05+0.1."""
    if value is None or (isinstance(value, set | frozenset | list | tuple) and not value):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "+".join(option_text(item) for item in value)
    if isinstance(value, type):
        # jnp.float32 and np.float32 are classes.
        return value.__name__
    # Dtypes of torch say where they are from.
    return number_text(float(value)) if hasattr(value, "__float__") else str(value).removeprefix("torch.")


def number_text(value: float) -> str:
    """Write a number in the shortest form that reads back as the same one, as JSON in JavaScript has it.

    Plain digits from 1e-6 up to 1e21, an exponent beyond; Python's own `repr` draws the line elsewhere.
    """
    if not math.isfinite(value):
        return str(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    shown = "".join(map(str, digits))
    point = len(shown) + int(exponent)
    minus = "-" if sign and value else ""
    if len(shown) <= point <= 21:
        return minus + shown + "0" * (point - len(shown))
    if 0 < point <= 21:
        return f"{minus}{shown[:point]}.{shown[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{shown}"
    fraction = f".{shown[1:]}" if len(shown) > 1 else ""
    return f"{minus}{shown[0]}{fraction}e{point - 1:+d}"


def only(option: str, value: Any, allowed: Any, instead: str) -> None:
    """Refuse a value that cannot be honoured, and say what to do instead."""
    if value != allowed:
        raise ValueError(f"{option}={option_text(value)} cannot be honoured: {instead}")
