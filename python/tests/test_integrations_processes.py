"""The callbacks of Lightning and `Trainer` in two processes: one run, named by the first, and one step for all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")

from support import Server  # noqa: E402

from shadowkeep import Client  # noqa: E402

SCRIPT = Path(__file__).with_name("integration_processes.py")


def fitted(*arguments: str) -> list[list[str]]:
    """Return what each of the two processes has printed."""
    if not torch.distributed.is_gloo_available():
        pytest.skip("torch has no gloo: processes on the CPU are not tested")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    done = subprocess.run([*launch, *arguments], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(line.split() for line in done.stdout.splitlines() if line[:2] in ("0 ", "1 "))


@pytest.mark.parametrize("framework", ["lightning", "transformers"])
def test_each_training_has_one_run_and_all_evaluate_the_same_step(
    server: Server, client: Client, run_name: str, tmp_path: Path, framework: str
) -> None:
    pytest.importorskip(framework, reason=f"{framework} is not installed: its callback is not tested")
    for name in (run_name, f"{run_name}-2"):
        told = fitted(server.target, run_name, str(tmp_path), framework)
        run = client.get_run(name)
        assert (run.writers, run.committed_step, run.states[0].num_updates) == (2, 4, 4)
        tensors = client.get_shadow(name).tensors
        expected = next(float(tensors[key].sum()) for key in tensors if key.endswith("layer.weight"))
        assert [(rank, run_of) for rank, run_of, _ in told] == [("0", name), ("1", name)]
        assert [float(seen) for _, _, seen in told] == pytest.approx([expected] * 2, abs=1e-5)


def test_where_one_process_cannot_read_the_average_none_evaluates_with_it(
    server: Server, client: Client, run_name: str, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed: its callback is not tested")
    (_, _, first), (_, _, second) = fitted(server.target, run_name, str(tmp_path), "cut-off")
    average = float(client.get_shadow(run_name).tensors["layer.weight"].sum())
    assert first == second
    assert float(first) != pytest.approx(average, abs=1e-5)
