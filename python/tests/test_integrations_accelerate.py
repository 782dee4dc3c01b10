"""`shadowkeep.integrations.accelerate` with the real Accelerate, on the real server."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")
accelerate: Any = pytest.importorskip("accelerate", reason="accelerate is not installed: its EMA is not tested")

from integration_support import close_to  # noqa: E402
from support import Server  # noqa: E402

from shadowkeep import Client  # noqa: E402
from shadowkeep.integrations.accelerate import AcceleratedEMA  # noqa: E402

SEED = 13
DECAY = 0.8


def make_model() -> Any:
    torch.manual_seed(SEED)
    return torch.nn.Linear(6, 2)


def loader() -> Any:
    generator = torch.Generator().manual_seed(SEED)
    data = torch.utils.data.TensorDataset(torch.randn(48, 6, generator=generator))
    return torch.utils.data.DataLoader(data, batch_size=4)


def test_updates_are_optimizer_steps_and_numbers_the_textbooks(client: Client, run_name: str) -> None:
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)
    model = make_model()
    shadow = model.weight.detach().double().clone()
    model, optimizer, batches = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader())
    with AcceleratedEMA(accelerator, model, client, run=run_name, decay=DECAY) as ema:
        ema.register()
        pushed = []
        for (x,) in batches:
            with accelerator.accumulate(model):
                accelerator.backward(model(x).square().mean())
                optimizer.step()
                optimizer.zero_grad()
                pushed.append(ema.update())
            if pushed[-1]:
                shadow = DECAY * shadow + (1 - DECAY) * model.weight.detach().double()
        assert pushed == [False, False, True] * 4
        trained = model.weight.detach().clone()
        with ema.average_parameters():
            assert close_to(model.weight.detach(), shadow)
        assert torch.equal(model.weight, trained)
    assert client.get_run(run_name).states[0].num_updates == ema.step == 4
    assert close_to(client.get_shadow(run_name).tensors["weight"], shadow)


def test_steps_that_the_scaler_skipped_are_not_folded(client: Client, run_name: str) -> None:
    accelerator = accelerate.Accelerator(cpu=True)
    # Accelerate makes one for fp16 on a GPU only, and takes any.
    accelerator.scaler = scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    shadow = model.weight.detach().double().clone()
    with AcceleratedEMA(accelerator, model, client, run=run_name, decay=DECAY) as ema:
        ema.register()
        for bad in (False, True, False, True):
            loss = model(torch.ones(4, 6)).square().mean() * (float("inf") if bad else 1.0)
            scaler.scale(loss).backward()
            optimizer.step()
            optimizer.zero_grad()
            assert ema.update() != bad
            shadow = shadow if bad else DECAY * shadow + (1 - DECAY) * model.weight.detach().double()
        assert (ema.step, ema.skipped_steps) == (4, 2)
    assert client.get_run(run_name).states[0].num_updates == 2
    assert close_to(client.get_shadow(run_name).tensors["weight"], shadow)


TWO_PROCESSES = """
import sys
import torch
from accelerate import Accelerator
from shadowkeep.integrations.accelerate import AcceleratedEMA

accelerator = Accelerator(cpu=True)
model = torch.nn.Linear(6, 2)
torch.nn.init.zeros_(model.weight)
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
model, optimizer = accelerator.prepare(model, optimizer)
with AcceleratedEMA(accelerator, model, sys.argv[1], run=sys.argv[2], decay=0.5) as ema:
    ema.register()
    for _ in range(3):
        accelerator.backward(model(torch.full((1, 6), 1.0 + accelerator.process_index)).sum())
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
    with ema.average_parameters():
        averaged = {value for value in model.module.weight.flatten().tolist()}
    raw = {value for value in model.module.weight.flatten().tolist()}
    # In one piece: both write to one pipe.
    sys.stdout.write(f"{accelerator.process_index} {ema.replica} {averaged} {raw}\\n")
    sys.stdout.flush()
    accelerator.wait_for_everyone()
accelerator.end_training()
"""


def test_two_processes_push_their_parts_and_apply_the_same_step(
    server: Server, client: Client, run_name: str, tmp_path: Any
) -> None:
    if not torch.distributed.is_gloo_available():
        pytest.skip("torch has no gloo: processes on the CPU are not tested")
    script = tmp_path / "two_processes.py"
    script.write_text(TWO_PROCESSES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, str(script), server.target, run_name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # The mean gradient is 1.5: weights 0, -1.5, -3, -4.5.
    average = ((-1.5 / 2 - 3) / 2 - 4.5) / 2
    lines = sorted(line for line in done.stdout.splitlines() if line[:1] in "01")
    assert lines == [f"0 False {{{average}}} {{-4.5}}", f"1 False {{{average}}} {{-4.5}}"]
    run = client.get_run(run_name)
    assert run.states[0].num_updates == 3
    assert run.writers == 2
