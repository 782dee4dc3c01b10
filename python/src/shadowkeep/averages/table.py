"""The table of averages: what each may be told, as the service and its other clients have it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, TypedDict

from . import checks


class Bound(TypedDict, total=False):
    """What a number may be; `is_above`: the least is not among them. `text` completes "must be"."""

    text: str
    min: float
    is_above: bool
    max: float
    is_integer: bool


class Parameter(TypedDict, total=False):
    """One number of a schedule."""

    bound: Bound
    default: float
    at_most: str
    parameter: str


class Schedule(TypedDict, total=False):
    """One schedule, by the proto's names."""

    rule: str
    parameters: dict[str, Parameter]
    in_place_of: dict[str, Parameter]
    is_indexed: bool
    is_correctable: bool


class Table(TypedDict):
    """table.json: made from the service's own table, `npx vitest run test/common/average-table.test.ts --update`."""

    defaults: dict[str, Any]
    words: dict[str, list[str]]
    counts: dict[str, Bound]
    schedules: dict[str, Schedule]


TABLE: Table = json.loads(resources.files(__package__).joinpath("table.json").read_text(encoding="utf-8"))
# Of a power function: the exponent of its profile, and in its place the profile's relative standard deviation.
EXPONENT = TABLE["schedules"]["power_function"]["parameters"]["gamma"]["bound"]
WIDTH = TABLE["schedules"]["power_function"]["in_place_of"]["sigma_rel"]["bound"]


def within(option: str, value: Any, bound: Bound) -> float:
    """Return a number inside its bound, an int where it has to be one. Raises TypeError, ValueError."""
    checked = checks.number(option, value)
    is_integer = bound.get("is_integer", False)
    if is_integer and not checked.is_integer():
        raise TypeError(f"{option} must be {bound['text']}, got {value}")
    is_low = checked <= bound["min"] if bound.get("is_above") else checked < bound["min"]
    if is_low or checked > bound["max"]:
        raise ValueError(f"{option} must be {bound['text']}, got {value}")
    return int(checked) if is_integer else checked


def parameters(kind: str, **given: Any) -> dict[str, Any]:
    """Return the checked parameters of a schedule. Raises TypeError and ValueError, which name the parameter."""
    row = TABLE["schedules"][kind]
    for name, other in row.get("in_place_of", {}).items():
        value, replaced = given.pop(name), given[other["parameter"]]
        if (value is None) == (replaced is None):
            raise ValueError(f"exactly one of {other['parameter']} ({replaced}) and {name} ({value}) must be given")
        if value is not None:
            return {name: within(name, value, other["bound"])}
    checked = {name: within(name, given[name], parameter["bound"]) for name, parameter in row["parameters"].items()}
    for name, parameter in row["parameters"].items():
        most = parameter.get("at_most")
        if most is not None:
            checks.ordered(name, checked[name], most, checked[most])
    return checked
