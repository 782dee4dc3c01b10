"""A model has one average at a time, whatever puts it there, and never half of one, whenever an interrupt comes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from interrupter import interrupted
from support import ROOT, Server

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from torch import nn  # noqa: E402

from shadowkeep import Client  # noqa: E402
from shadowkeep.torch import EMA  # noqa: E402


def weights(model: nn.Module) -> Any:
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


def trained(model: nn.Module, client: Client, run: str) -> EMA:
    """An EMA whose average is not the model's weights."""
    ema = EMA(model, client, run=run, decay=0.5)
    ema.register()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    ema.update()
    return ema


def the_same(model: nn.Sequential) -> nn.Module:
    return model


def a_wrapper(model: nn.Sequential) -> nn.Module:
    return nn.DataParallel(model)


def a_part(model: nn.Sequential) -> nn.Module:
    return model[0]


def a_tied_one(model: nn.Sequential) -> nn.Module:
    tied = nn.Linear(4, 4)
    first: Any = model[0]
    tied.weight = first.weight
    return tied


@pytest.mark.parametrize("related", [the_same, a_wrapper, a_part, a_tied_one])
def test_another_average_of_the_same_tensors_is_refused(
    client: Client, run_name: str, related: Callable[[nn.Sequential], nn.Module]
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with trained(model, client, f"{run_name}-a") as a, trained(related(model), client, f"{run_name}-b") as b:
        raw = weights(model)
        a.apply_shadow()
        applied = weights(model)
        refusal = f"average 'ema' of run '{run_name}-a' is in the model"
        with pytest.raises(RuntimeError, match=f"average 'ema' of run '{run_name}-b' needs .*{refusal}"):
            b.apply_shadow()
        with pytest.raises(RuntimeError, match=rf"update\(\) of run '{run_name}-b' needs .*{refusal}"):
            b.update()
        with pytest.raises(RuntimeError, match="restore"):
            b.restore()
        assert torch.equal(weights(model), applied)
        a.restore()
        assert torch.equal(weights(model), raw)
        assert b.update()
        with b.average_parameters(), pytest.raises(RuntimeError, match=f"run '{run_name}-b' is in the model"):
            a.update()
        assert torch.equal(weights(model), raw)


def test_a_replica_and_a_trainer_of_one_model(client: Client, run_name: str) -> None:
    model = nn.Linear(4, 2)
    with trained(model, client, run_name) as ema:
        replica = EMA(model, client, run=run_name, replica=True)
        with replica.average_parameters(min_step=1):
            with pytest.raises(RuntimeError, match=rf"update\(\) of run '{run_name}' needs"):
                ema.update()
            with pytest.raises(RuntimeError, match=rf"register\(\) of run '{run_name}-new' needs"):
                EMA(model, client, run=f"{run_name}-new").register()
        assert ema.update()


def test_models_that_share_only_what_is_frozen_do_not_concern_each_other(client: Client, run_name: str) -> None:
    backbone = nn.Linear(4, 4).requires_grad_(False)
    one, other = nn.Sequential(backbone, nn.Linear(4, 2)), nn.Sequential(backbone, nn.Linear(4, 2))
    emas = [EMA(model, client, run=f"{run_name}-{number}") for number, model in enumerate((one, other))]
    for ema in emas:
        ema.register()
        ema.update()
    with emas[0].average_parameters(), emas[1].average_parameters():
        pass
    with emas[0].average_parameters():
        assert emas[1].update()
    for ema in emas:
        ema.close()


# What applies and restores.
PLACES = ("/torch/applying.py", "/torch/swap.py", "/torch/putback.py", "/torch/load.py", "/contextlib.py")
# Before a function's first line, after a built-in.
EVENTS = ("call", "c_return")


# Where Python finalizes a generator an exception goes no further.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_place_leaves_the_raw_weights(client: Client, run_name: str) -> None:
    model = nn.Linear(4, 2)
    with trained(model, client, run_name) as ema:
        ema.flush()
        raw = weights(model)

        def evaluate() -> None:
            with ema.average_parameters():
                pass

        at = 1
        while interrupted(evaluate, at, PLACES, EVENTS):
            assert not ema.applied, at
            assert torch.equal(weights(model), raw), at
            at += 1
        assert at > 100
        assert ema.update()


def test_a_block_that_the_end_of_the_process_breaks_off_says_nothing(server: Server, run_name: str) -> None:
    script = """
        import sys
        import torch
        from shadowkeep.torch import EMA

        model = torch.nn.Linear(4, 2)
        ema = EMA(model, sys.argv[1], run=sys.argv[2])
        ema.register()
        ema.update()

        def evaluation():
            with ema.average_parameters():
                yield

        running = evaluation()
        next(running)
        sys.exit(3)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), server.target, run_name]
    environment = {"PYTHONPATH": str(ROOT / "python" / "src"), "GRPC_VERBOSITY": "NONE"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (3, "")
