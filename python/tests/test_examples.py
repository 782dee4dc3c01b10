"""The examples run as they are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import ROOT, Server

import shadowkeep


def test_train_digits_torch(server: Server, client: shadowkeep.Client, run_name: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed: its example is not run")
    script = ROOT / "python" / "examples" / "train_digits_torch.py"
    command = [sys.executable, str(script), "--target", server.target, "--run", run_name, "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("epoch") == 2
    assert client.get_shadow(run_name).num_updates == 2 * 45
