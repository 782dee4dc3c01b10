"""Exceptions that a signal handler raises in the middle of a call (Ctrl-C): later calls work or raise, none hangs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import ROOT, Server

# An exception is raised at the n-th call or return of a function, in our code, grpcio's or threading's, for many n:
# there the interpreter looks for signals.
SCRIPT = """
import faulthandler, sys, time, warnings
import torch
import shadowkeep
from interrupter import interrupted
from shadowkeep.torch import EMA

target, run_name, member = sys.argv[1:]
faulthandler.dump_traceback_later(200, exit=True)
model = torch.nn.Linear(64, 64)
client = shadowkeep.connect(target)
ema = EMA(model, client, run=run_name, decay=0.9, reconnect_timeout=10.0)
ema.register()
ema.update()
ema.flush()

PLACES = ("/grpc/", "/shadowkeep/", "/threading.py", "/contextlib.py")
EVENTS = ("call", "return", "c_return", "c_exception")

def read():
    with ema.average_parameters():
        pass

def watch():
    events = client.watch_run(run_name)
    next(events)
    events.close()

def train():
    ema.update()
    ema.flush()

members = {"read": read, "get_run": lambda: client.get_run(run_name), "watch": watch, "train": train,
           "open": lambda: client.open_run(run_name + "-open", {"w": model.weight.detach().numpy()},
                                           [shadowkeep.Average.mean("m")], incarnation=str(time.time())).open_stream()}
at, tries, worked = 1, 0, 0
warnings.simplefilter("ignore")
while interrupted(members[member], at, PLACES, EVENTS):
    tries += 1
    if ema.applied:
        ema.restore()
    try:
        ema.update()
        ema.flush(30.0)
        client.get_run(run_name)
        worked += 1
    except (shadowkeep.ShadowkeepError, RuntimeError, ValueError) as error:
        if member != "train":
            raise
        ema.abandon()
        ema = EMA(model, client, run=run_name, decay=0.9, reconnect_timeout=10.0, resume="continue")
        ema.register()
    at += max(1, at // 6)
assert tries > 10, tries
if member != "train":
    assert worked == tries
ema.close()
client.close()
print("done")
"""


@pytest.mark.parametrize("member", ["read", "get_run", "watch", "train", "open"])
def test_an_interrupt_at_any_place(server: Server, run_name: str, member: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / "python" / part) for part in ("src", "tests")),
        "GRPC_VERBOSITY": "NONE",
    }
    command = [sys.executable, "-c", SCRIPT, server.target, run_name, member]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
