"""Peers' options for the dtype of their shadow: the precision of ours."""

from __future__ import annotations

from typing import Any

from .preset import PresetOptions, option_text
from .rule import PrecisionName

_PRECISIONS: dict[str, PrecisionName] = {"float32": "F32", "float64": "F64"}


def take_dtype(option: str, dtype: Any, common: PresetOptions) -> None:
    """Take a dtype's name, or a dtype of numpy, torch or JAX, as the precision; None leaves that as it is.

    Raises ValueError for one that is neither float32 nor float64, or not the precision that was given besides it.
    """
    if dtype is None:
        return
    found = _PRECISIONS.get(option_text(dtype))
    if found is None:
        raise ValueError(f"{option} must be float32 or float64, got {option_text(dtype)}")
    if common.setdefault("precision", found) != found:
        raise ValueError(f"precision must be {found}, as {option} says, got {common['precision']}")
