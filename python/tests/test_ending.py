"""Processes that end without `close()`: what they pushed is in the average, or standard error says what is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cutting_proxy import CuttingProxy
from support import ROOT, Server

from shadowkeep import Client

ENDINGS = {
    "its last line": "",
    "an exception": "raise RuntimeError('the script failed')",
    "sys.exit": "sys.exit(3)",
    # A test run in the background of a shell has SIGINT ignored, and hands that on.
    "an interrupt": (
        "signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    ),
    "the end of a thread after the main one": "threading.Thread(target=lambda: (time.sleep(0.5), push(9))).start()",
}
EXIT_CODES = {"an exception": 1, "sys.exit": 3, "an interrupt": -signal.SIGINT}

HEAD = """
import multiprocessing, os, signal, sys, threading, time
import numpy as np
import shadowkeep
from shadowkeep import Average
target, run_name, steps, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
"""
RUN = """
weights = {"w": np.ones(1_000_000, np.float32)}
run = shadowkeep.connect(target).open_run(run_name, weights, [Average.mean("mean")])
push = lambda step: run.update(step, weights)
"""
EMA = """
import torch
from shadowkeep.torch import EMA
model = torch.nn.Linear(1000, 1000)
ema = EMA(model, target, run=run_name, decay=0.9, reconnect_timeout=600)
ema.register()
push = ema.update
"""
SECOND_EMA = """
other = EMA(torch.nn.Linear(1000, 1000), target, run=run_name + "-other", decay=0.9)
other.register()
push = lambda step: (ema.update(step), other.update(step))
"""
PUSH = """
for step in range(1, steps + 1):
    push(step)
"""
# An EMA's update waits for the acknowledgement of the one before.
FLUSH = """
(run if "run" in globals() else ema).flush()
print("acknowledged", flush=True)
"""
TAIL = """
print("pushed", flush=True)
exec(end)
"""


def needs_torch(setup: str) -> str:
    if "torch" in setup:
        pytest.importorskip("torch", reason="torch is not installed")
    return setup


def start(server: str, run: str, script: str, steps: int = 3, end: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, server, run, str(steps), end]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python" / "src"), "GRPC_VERBOSITY": "ERROR"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("setup", [RUN, EMA], ids=["run", "ema"])
def test_what_was_pushed_is_sent(server: Server, client: Client, run_name: str, setup: str, ending: str) -> None:
    script = HEAD + needs_torch(setup) + PUSH + TAIL
    process = start(server.target, run_name, script, end=ENDINGS[ending])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == EXIT_CODES.get(ending, 0), errors
    assert "shadowkeep: the process ends" not in errors
    assert client.get_shadow(run_name).num_updates == (4 if "thread" in ending else 3)


@pytest.mark.parametrize("steps", [1, 40])
def test_a_backlog_of_several_averages(server: Server, client: Client, run_name: str, steps: int) -> None:
    script = HEAD + needs_torch(EMA) + SECOND_EMA + PUSH
    process = start(server.target, run_name, script, steps)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    for run in (run_name, f"{run_name}-other"):
        assert client.get_shadow(run).num_updates == steps


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing(server: Server, client: Client, run_name: str, tmp_path: Path, method: str) -> None:
    """It ends with os._exit, past all that the interpreter does at its end but for threads."""
    body = "def main():\n" + "".join(f"    {line}\n" for line in (HEAD + RUN + PUSH).strip().splitlines())
    main = f'if __name__ == "__main__":\n    p = multiprocessing.get_context("{method}").Process(target=main)\n'
    script = tmp_path / "main.py"
    script.write_text("import multiprocessing\n" + body + main + "    p.start()\n    p.join()\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python" / "src")}
    command = [sys.executable, str(script), server.target, run_name, "3", ""]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert client.get_shadow(run_name).num_updates == 3, ended.stderr


@pytest.mark.parametrize("setup", [RUN, EMA], ids=["run", "ema"])
def test_what_cannot_be_sent_is_named(server: Server, run_name: str, setup: str) -> None:
    script = HEAD + needs_torch(setup) + "from shadowkeep import ending\nending.EXIT_SECONDS_MAX = 1.0\n" + PUSH
    script += FLUSH + "sys.stdin.read()\npush(4)\n"
    with CuttingProxy(server.target) as proxy:
        process = start(proxy.target, run_name, script)
        wait_for_acks(process)
        # A push by the script's own thread would find a connection that is cut by itself, and raise.
        getattr(proxy, "stall" if setup is RUN else "refuse")()
        _, errors = process.communicate("", timeout=120)
    assert process.returncode == 0
    said = [line for line in errors.splitlines() if line.startswith("shadowkeep: the process ends")]
    assert len(said) == 1, errors
    assert f"step 4 of run '{run_name}' may be lost" in said[0]


def wait_for_acks(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "acknowledged\n"


def test_a_failure_that_nobody_has_seen_is_named(server: Server, run_name: str) -> None:
    """The last call had returned before it came."""
    script = HEAD + needs_torch(EMA) + PUSH + "ema.flush()\n"
    script += f"shadowkeep.connect(target).delete_run({run_name!r})\npush(4)\n"
    process = start(server.target, run_name, script)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"step 4 of run '{run_name}' may be lost" in errors
    assert "RUN_DELETED" in errors or "RUN_NOT_FOUND" in errors


@pytest.mark.parametrize("setup", [RUN, EMA], ids=["run", "ema"])
def test_what_was_abandoned_is_let_be(server: Server, run_name: str, setup: str) -> None:
    held = "run" if setup is RUN else "ema"
    script = HEAD + needs_torch(setup) + PUSH + FLUSH + f"sys.stdin.read()\npush(4)\n{held}.abandon()\n"
    with CuttingProxy(server.target) as proxy:
        process = start(proxy.target, run_name, script)
        wait_for_acks(process)
        proxy.stall()
        _, errors = process.communicate("", timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_runs_that_threads_open_at_the_same_time(server: Server, client: Client, run_name: str) -> None:
    """One of them starts what waits for the end of the process; two of it would wait for each other."""
    script = HEAD + "\n".join(
        (
            "sys.setswitchinterval(1e-6)",
            "weights = {'w': np.ones(4, np.float32)}",
            "averages = [Average.mean('mean')]",
            "runs = [shadowkeep.connect(target).open_run(f'{run_name}-{i}', weights, averages) for i in range(16)]",
            "start = threading.Barrier(16)",
            "push = lambda run: (start.wait(), run.update(1, weights))",
            "threads = [threading.Thread(target=push, args=(run,)) for run in runs]",
            "[thread.start() for thread in threads]",
        )
    )
    process = start(server.target, run_name, script)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert [client.get_shadow(f"{run_name}-{number}").num_updates for number in range(16)] == [1] * 16


def test_a_script_that_pushed_nothing_ends_at_once(server: Server, run_name: str) -> None:
    """Also when the service has hung."""
    with CuttingProxy(server.target) as proxy:
        script = HEAD + RUN + "run.open_stream()\nprint('opened', flush=True)\nsys.stdin.read()\n"
        process = start(proxy.target, run_name, script)
        assert process.stdout is not None
        assert process.stdout.readline() == "opened\n"
        proxy.stall()
        _, errors = process.communicate("", timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_a_lock_that_an_interrupt_has_cost_does_not_hold_the_process(server: Server, run_name: str) -> None:
    lose = "shadowkeep.ending.EXIT_SECONDS_MAX = 1.0; run._sender._progress.lock.acquire()"
    process = start(server.target, run_name, HEAD + "import shadowkeep.ending\n" + RUN + PUSH + TAIL, end=lose)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "pushed\n")
    assert "steps that were pushed may be lost" in err
