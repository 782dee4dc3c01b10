"""The examples run as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_train_sharded_torch(server: Server, client: shadowkeep.Client, run_name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: its example is not run")
    script = ROOT / "python" / "examples" / "train_sharded_torch.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    flags = ["--target", server.target, "--name", run_name, "--steps", "12", "--checkpoints", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python" / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *flags], capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step 12: loss" in done.stdout
    assert client.get_shadow(run_name).num_updates == 12
    assert client.get_run(run_name).writers == 2
