"""`shadowkeep.torch.EMA` in several processes: by torchrun on the CPU (gloo), or in threads for what is quicker."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")
if not torch.distributed.is_available():
    pytest.skip("this torch has no distributed package: several processes are not tested", allow_module_level=True)

from support import ROOT, Server, ulp_distance  # noqa: E402

import shadowkeep  # noqa: E402
from shadowkeep import Client  # noqa: E402
from shadowkeep.torch import EMA, World, torchrun_world  # noqa: E402
from shadowkeep.torch.regions import range_boxes  # noqa: E402

TESTS = Path(__file__).parent
TORCHRUN_SECONDS_MAX = 300
# Steps by form; 0: only what would be sent is looked at, the form cannot be trained.
FORMS = {
    "odd": 0, "ddp": 50, "fsdp1": 50, "fsdp1-flat": 3, "fsdp1-hybrid": 3, "fsdp1-no-shard": 3, "fsdp2": 50, "hsdp2": 3,
    "2x2": 50,
}  # fmt: skip
# Of the model's bytes, how much each process holds.
HELD = {"fsdp1": 1 / 4, "fsdp1-flat": 1 / 4, "fsdp1-hybrid": 1 / 2, "fsdp2": 1 / 4, "hsdp2": 1 / 2, "2x2": 1 / 4}
# Read whole by each process.
BUFFER_BYTES = 3 * 48 * 4
DECAY = 0.9


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    paths = os.pathsep.join([str(ROOT / "python" / "src"), str(TESTS)])
    return subprocess.run(
        [*command, str(TESTS / "distributed_main.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=TORCHRUN_SECONDS_MAX,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )


class FirstLife:
    """What distributed_main.py said of each form, all of its output, and where it has left the weights of its steps."""

    def __init__(self, done: subprocess.CompletedProcess[str], directory: Path) -> None:
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        self.figures = {line["form"]: line for line in lines}
        self.output = done.stdout + done.stderr
        self.directory = directory

    def of(self, form: str) -> dict[str, Any]:
        assert form in self.figures, self.output
        figures: dict[str, Any] = self.figures[form]
        return figures


@pytest.fixture(scope="module")
def training(server: Server, tmp_path_factory: pytest.TempPathFactory) -> FirstLife:
    """Train in all forms with one start of torchrun, which takes longer than some of them; then a process is killed."""
    directory: Path = tmp_path_factory.mktemp("lives")
    forms = [f"{form}={steps}" for form, steps in FORMS.items()]
    return FirstLife(torchrun(4, server.target, str(directory), "first", *forms), directory)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_sends_everything_once_and_is_the_textbook_average(training: FirstLife, form: str) -> None:
    figures = training.of(form)
    if FORMS[form] > 0:
        # The script has compared each step; that it says so is what is checked here.
        assert 0 < figures["ulp_max"] <= 2


@pytest.mark.parametrize("form", [form for form, steps in FORMS.items() if steps > 0])
def test_no_process_sends_more_than_its_part(training: FirstLife, form: str) -> None:
    figures = training.of(form)
    total = sum(figures["step_bytes"])
    # 4 % of this small model are messages' heads and gaps.
    assert max(figures["step_bytes"]) <= 0.30 * total
    assert max(sent for sent, _, _ in figures["sent_read_first"]) <= 0.30 * total


@pytest.mark.parametrize("form", HELD)
def test_a_sharded_model_reads_its_own_shards(training: FirstLife, form: str) -> None:
    figures = training.of(form)
    bound = (HELD[form] + 0.05) * sum(figures["step_bytes"]) + BUFFER_BYTES
    assert max(read for _, read, _ in figures["sent_read_first"]) <= bound


@pytest.fixture(scope="module")
def restarted(server: Server, training: FirstLife) -> Path:
    """Four processes, of which one was killed in step 13, then two from the checkpoint of step 10."""
    assert "SIGKILL" in training.output, training.output
    second = torchrun(2, server.target, str(training.directory), "second")
    assert second.returncode == 0, second.stderr
    return training.directory


@pytest.mark.parametrize(("run", "replayed_from"), [("continue", 13), ("rewind", 11)])
def test_restart_with_other_processes(restarted: Path, client: Client, run: str, replayed_from: int) -> None:
    shadow = client.get_shadow(run)
    assert (shadow.step, shadow.num_updates) == (20, 20)
    assert client.get_run(run).writers == 2
    steps = ["first/0", *(f"{'first' if step < replayed_from else 'second'}/{step}" for step in range(1, 21))]
    trajectory = [torch.load(restarted / f"{step}.pt") for step in steps]
    for name, expected in trajectory[0].items():
        scale = expected.abs().clamp_min(1e-3)
        for weights in trajectory[1:]:
            expected = DECAY * expected + (1 - DECAY) * weights[name]
        actual = shadow.tensors[name]
        # Each step may add 2 units; what it adds shrinks with the decay.
        assert ulp_distance(actual, expected.numpy(), scale.numpy()) <= 2 / (1 - DECAY), name


def in_threads(count: int, work: Callable[[World], Any]) -> list[Any]:
    """Call `work` for each place of a world, at the same time."""
    incarnation = os.urandom(8).hex()
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work, World(rank, count, incarnation)) for rank in range(count)]
        return [future.result() for future in futures]


def replicated_model(value: float = 0.0) -> Any:
    """Return one of several models with the same weights; the first layer is frozen."""
    model = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.Linear(30, 20), torch.nn.BatchNorm1d(20))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) + value)
    model[0].requires_grad_(False)
    return model


def fill(model: Any, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.fill_(value)


def test_replicas_share_frozen_tensors_and_steps(server: Server, client: Client, run_name: str) -> None:
    def work(world: World) -> tuple[int, int, int]:
        model = replicated_model()
        with EMA(model, server.target, run=run_name, decay=0.5, world=world) as ema:
            ema.register()
            fill(model, 8.0)
            # Statistics of batch norm differ between replicas: the first one's count.
            model[2].running_mean.fill_(world.rank)
            assert ema.update()
            assert not ema.update(skipped=True)
            with ema.average_parameters():
                applied = model[1].weight.detach().clone(), model[2].running_mean[0].item()
            assert torch.equal(applied[0], (torch.arange(600).reshape(20, 30) + 8.0) / 2)
            assert applied[1] == 0
            assert ema.dropped_steps == ema.rejected_steps == 0
            # Only one of them has the element that is not finite.
            with torch.no_grad():
                model[1].weight[0, 0] = float("nan")
            ema.update()
            ema.flush()
            return ema.step, ema.skipped_steps, ema.rejected_steps

    with pytest.warns(RuntimeWarning, match="step 3"):
        assert in_threads(3, work) == [(3, 1, 1)] * 3
    run = client.get_run(run_name)
    assert run.states[0].num_updates == 1
    sizes = [state.step_bytes for state in run.writer_states]
    assert max(sizes) <= (1 / 3 + 0.05) * sum(sizes)
    assert torch.equal(torch.from_numpy(client.get_shadow(run_name).tensors["0.weight"]), replicated_model()[0].weight)


def test_frozen_tensors_are_compared_by_those_who_send_them(server: Server, run_name: str) -> None:
    def open_and_close(world: World, value: float) -> None:
        with EMA(replicated_model(value), server.target, run=run_name, world=world) as ema:
            ema.register()

    in_threads(2, lambda world: open_and_close(world, 0.0))
    in_threads(2, lambda world: open_and_close(world, 0.0))
    with pytest.raises(RuntimeError, match=r"frozen tensor '0\.weight' is not what run"):
        in_threads(2, lambda world: open_and_close(world, 1.0))


def test_a_process_with_another_model_is_found_out(run_name: str) -> None:
    def work(world: World) -> str:
        ema = EMA(torch.nn.Linear(8, 4 + world.rank), server.target, run=run_name, world=world)
        with pytest.raises(shadowkeep.ShadowkeepError) as caught:
            ema.register()
        ema.abandon()
        return caught.value.reason

    with Server("--step-timeout", "1s") as server:
        assert sorted(in_threads(2, work)) == ["LAYOUT_MISMATCH", "WRITERS_MISSING"]


@pytest.mark.parametrize(
    "resume",
    ["continue", "rewind", "refuse"],
)
def test_resume_from_an_older_checkpoint(client: Client, run_name: str, resume: Any) -> None:
    model = torch.nn.Linear(3, 2)
    fill(model, 0.0)
    with EMA(model, client, run=run_name, decay=0.5, retain=shadowkeep.Retention(2, 4)) as ema:
        ema.register()
        for step in (1, 2, 3):
            ema.update(step)
    resumed = EMA(model, client, run=run_name, decay=0.5, resume=resume)
    if resume == "refuse":
        with pytest.raises(shadowkeep.FailedPreconditionError) as caught:
            resumed.register(2)
        assert caught.value.reason == "TRAINER_BEHIND"
        resumed.abandon()
        return
    fill(model, 10.0)
    with resumed:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if resume == "continue" else "error")
            resumed.register(2)
        assert resumed.step == 2
        # The step that the run has already is not folded again, where the run was not rewound.
        assert resumed.update(3) == (resume == "rewind")
        if resume == "continue":
            assert resumed.update(4)
        with resumed.average_parameters():
            assert (model.weight == 5.0).all()
    shadow = client.get_shadow(run_name)
    assert (shadow.step, shadow.num_updates) == ((4, 4) if resume == "continue" else (3, 3))


def test_a_rewinding_trainer_may_be_the_first(client: Client, run_name: str) -> None:
    with EMA(torch.nn.Linear(3, 2), client, run=run_name, resume="rewind") as ema:
        ema.register()
        assert ema.update()
    client.delete_run(run_name)
    with EMA(torch.nn.Linear(3, 2), client, run=run_name, resume="rewind") as ema:
        with pytest.warns(RuntimeWarning, match="has no commits, the trainer comes from step 7"):
            ema.register(7)
        assert ema.step == 7


def test_without_other_processes_a_world_is_of_one() -> None:
    first, second = torchrun_world(), torchrun_world()
    assert (first.rank, first.size) == (0, 1)
    assert first.incarnation != second.incarnation
    bad: Any = "never"
    with pytest.raises(ValueError, match="resume must be one of step, continue, refuse, rewind, got 'never'"):
        EMA(torch.nn.Linear(3, 2), "127.0.0.1:1", run="r", resume=bad)


def test_a_range_of_elements_is_few_boxes(rng: np.random.Generator) -> None:
    for _ in range(3_000):
        shape: Sequence[int] = rng.integers(1, 5, rng.integers(0, 5)).tolist()
        start, stop = sorted(rng.integers(0, math.prod(shape) + 1, 2).tolist())
        elements = np.arange(math.prod(shape)).reshape(shape)
        boxes = list(range_boxes(tuple(shape), start, stop))
        assert len(boxes) <= max(1, 2 * len(shape) - 1)
        found = [
            elements[tuple(slice(first, first + size) for first, size in zip(offset, extent, strict=True))].ravel()
            for offset, extent in boxes
        ]
        assert np.array_equal(np.concatenate([np.zeros(0, int), *found]), np.arange(start, stop))


def test_a_process_that_comes_alone_is_told_what_to_do(run_name: str) -> None:
    with Server("--step-timeout", "1s") as impatient:
        ema = EMA(torch.nn.Linear(8, 4), impatient.target, run=run_name, world=World(0, 2, "alone"))
        with pytest.raises(
            shadowkeep.DeadlineExceededError, match=r"Each of the 2 processes .*replica=False"
        ) as caught:
            ema.register()
        assert caught.value.reason == "WRITERS_MISSING"
        ema.abandon()
