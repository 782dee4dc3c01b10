"""The package is typed, strictly, and formatted: what its users' type checkers and its readers rely on."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import ROOT


@pytest.mark.parametrize(
    "command",
    [["mypy", "src", "examples"], ["ruff", "check", "."], ["ruff", "format", "--check", "."]],
    ids=["mypy", "ruff check", "ruff format"],
)
def test_clean(command: list[str]) -> None:
    pytest.importorskip(command[0], reason=f"{command[0]} is not installed")
    if command[0] == "mypy":
        pytest.importorskip("torch", reason="torch is not installed: the types of its adapter are not checked")
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT / "python", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
