"""Children that were forked while their parent pushes: own connections or an error at once, and nothing hangs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import ROOT, Server

from shadowkeep import Client

# Forks children again and again while steps leave, and as often with every lock held that a child could need.
PARENT = """
import faulthandler, multiprocessing, os, sys, threading, time
import numpy as np
import shadowkeep
from shadowkeep import Average, ShadowkeepError

target, run_name = sys.argv[1], sys.argv[2]
weights = {"w": np.ones(1_000_000, np.float32)}
client = shadowkeep.connect(target)
run = client.open_run(run_name, weights, [Average.mean("mean")])
run.update(1, weights)
run.flush()

def refused(call):
    try:
        call()
    except RuntimeError as error:
        assert f"process {os.getppid()}" in str(error), error
    else:
        raise AssertionError("a forked process used its parent's stream")

def in_child(body):
    faulthandler.dump_traceback_later(60, exit=True)
    body()

failed = []
def forked(name, body, how="process"):
    if how == "os._exit":
        pid = os.fork()
        if pid == 0:
            in_child(body)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    elif how == "sys.exit":
        pid = os.fork()
        if pid == 0:
            in_child(body)
            sys.exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    else:
        process = multiprocessing.get_context("fork").Process(target=in_child, args=(body,))
        process.start()
        process.join()
        code = process.exitcode
    if code != 0:
        failed.append((name, code))
"""
MEMBERS = """
def own_run():
    with client.open_run(f"{run_name}-{os.getpid()}", weights, [Average.mean("mean")]) as mine:
        mine.update(1, weights)

def inherited_run():
    refused(lambda: run.update(10**6, weights))
    refused(lambda: run.flush())
    refused(lambda: run.skip(10**6))
    run.close()
    run.abandon()

def closes():
    client.list_runs()
    client.close()
    run.abandon()

def new_client():
    with shadowkeep.connect(target) as mine:
        mine.get_shadow(run_name)

members = {
    "inherited client reads": lambda: client.get_shadow(run_name),
    "inherited client asks": lambda: client.get_run(run_name),
    "own run of the inherited client": own_run,
    "inherited run": inherited_run,
    "closes what it inherited": closes,
    "new client": new_client,
    "uses nothing": lambda: None,
}
stop = threading.Event()
pushed = [1]
def push():
    while not stop.is_set():
        run.update(pushed[0] + 1, weights)
        pushed[0] += 1
pushing = threading.Thread(target=push)
pushing.start()
for name, body in members.items():
    for how in ("process", "os._exit", "sys.exit"):
        forked(f"{name}, ends by {how}", body, how)
stop.set()
pushing.join()

# A child could inherit any of them locked by a thread that it has not.
locks = [run._sender._healing.hands, run._progress.lock]
held, free = threading.Event(), threading.Event()
def hold():
    for lock in locks:
        lock.acquire()
    held.set()
    free.wait()
    for lock in locks:
        lock.release()
holding = threading.Thread(target=hold)
holding.start()
held.wait()
for name, body in members.items():
    forked(f"{name}, with locks held", body)
free.set()
holding.join()

run.close()
shadow = client.get_shadow(run_name)
assert (shadow.step, shadow.num_updates) == (pushed[0], pushed[0]), (shadow, pushed)
assert failed == [], failed
print("done")
"""
EMA_MEMBERS = """
import torch
from shadowkeep.torch import EMA, load_shadow
torch.set_num_threads(1)
model = torch.nn.Linear(1000, 1000)
ema = EMA(model, target, run=run_name + "-ema", decay=0.5)
ema.register()
ema.update()

def inherited_ema():
    for call in (ema.update, ema.flush, ema.apply_shadow, lambda: ema.update(skipped=True)):
        refused(call)
    ema.close()

def abandons():
    ema.abandon()

def replica():
    mine = EMA(torch.nn.Linear(1000, 1000), client, run=run_name + "-ema", replica=True)
    mine.apply_shadow()
    mine.restore()

members = {"inherited EMA": inherited_ema, "abandons": abandons, "replica": replica}
for round in range(3):
    for name, body in members.items():
        ema.update()
        forked(name, body)
    ema.update()
    assert sum(len(batch) for batch in torch.utils.data.DataLoader(list(range(8)), num_workers=2)) == 8
ema.flush(60)
assert client.get_shadow(run_name + "-ema").num_updates == ema.step
ema.close()
run.close()
assert failed == [], failed
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("members", [MEMBERS, EMA_MEMBERS], ids=["client", "ema"])
def test_forked_children(server: Server, client: Client, run_name: str, members: str) -> None:
    if members is EMA_MEMBERS:
        pytest.importorskip("torch", reason="torch is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python" / "src"), "GRPC_VERBOSITY": "NONE"}
    command = [sys.executable, "-c", PARENT + members, server.target, run_name]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
    assert "may be lost" not in ended.stderr
