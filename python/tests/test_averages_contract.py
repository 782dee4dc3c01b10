"""Averages are the same from every door: these cases drive the service, its TypeScript client and its shell, too."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from shadowkeep import wire
from shadowkeep.averages import Average
from shadowkeep.averages.table import TABLE

_FILE = Path(__file__).parents[2] / "test" / "common" / "averages.json"
_CASES = json.loads(_FILE.read_text(), parse_constant=float)
_MAKERS = {
    kind: getattr(Average, {"constant": "ema", "power_function": "power"}.get(kind, kind))
    for kind in TABLE["schedules"]
}


def _made(case: dict[str, Any]) -> Average:
    options = {name: float(value) if value in ("NaN", "Infinity") else value for name, value in case["options"].items()}
    average: Average = _MAKERS[case["kind"]]("a", **options)
    return average


def _name(case: dict[str, Any]) -> str:
    return f"{case['kind']} {json.dumps(case['options'])}"


@pytest.mark.parametrize("case", [case for case in _CASES if "filled" in case], ids=_name)
def test_an_average_is_filled_in_as_everywhere(case: dict[str, Any]) -> None:
    message = wire.Average.decode(_made(case).to_message().encode())
    wanted = {**TABLE["defaults"], **case["filled"]}
    schedule = wanted.pop(case["kind"])
    for field, value in wanted.items():
        found = getattr(message, field)
        assert getattr(found, "name", found) == value, field
    found = getattr(message, case["kind"])
    # The service turns a relative width into the exponent.
    if case["options"].keys() == {"sigma_rel"}:
        assert found.sigma_rel == case["options"]["sigma_rel"]
    else:
        assert {name: getattr(found, name) for name in schedule} == schedule


@pytest.mark.parametrize("case", [case for case in _CASES if "refused" in case], ids=_name)
def test_what_is_refused_everywhere_is_refused_here_with_its_name(case: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=case["refused"]):
        _made(case)


def test_defaults_are_those_of_the_table() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(Average)}
    for name, value in TABLE["defaults"].items():
        assert fields[name] == (tuple(value) if isinstance(value, list) else value), name
    for kind, row in TABLE["schedules"].items():
        signature = inspect.signature(_MAKERS[kind]).parameters
        for name, parameter in row["parameters"].items():
            alone = "in_place_of" not in row
            missing = inspect.Parameter.empty if alone else None
            assert signature[name].default == parameter.get("default", missing), (kind, name)
