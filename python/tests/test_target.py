"""Targets that the client takes: those that the other clients take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import shadowkeep

CASES = json.loads((Path(__file__).parents[2] / "test" / "common" / "targets.json").read_text())


@pytest.mark.parametrize("target", CASES["accepted"])
def test_a_target_is_taken(target: str) -> None:
    with shadowkeep.connect(target) as client:
        assert client.target == target


@pytest.mark.parametrize("target", CASES["refused"])
def test_what_is_none_is_refused_before_it_is_dialled(target: str) -> None:
    with pytest.raises(ValueError, match="target must be HOST:PORT with a port from 1 to 65535, got "):
        shadowkeep.connect(target)
