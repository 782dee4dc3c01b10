"""Each preset's trajectory through the real server against the peer's rule, written again in `peer_formulas`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import peer_formulas as peers
import pytest

from shadowkeep import Average, Client
from shadowkeep import averages as presets

STEPS = 12
RELATIVE_MAX = 1e-6
AVERAGES_PER_RUN = 16
# The golden steps of every preset: p_0 = 0, p_t = t.
GOLDEN = 6


class Case(NamedTuple):
    average: Average
    peer: peers.Trajectory


def cases() -> list[Case]:
    (narrow, wide) = presets.edm2()
    (single,) = presets.edm2(stds=[0.2])
    (ramp,) = presets.edm2(batch_size=1)
    (bounded,) = presets.edm2(halflife_Mimg=0.002, rampup_ratio=0.5, batch_size=1000)
    (constant,) = presets.edm2(halflife_Mimg=0.002, rampup_ratio=None, batch_size=1000)
    return [
        Case(presets.textbook(decay=0.9), peers.register_and_update(0.9)),
        Case(presets.torch_ema(decay=0.9), peers.torch_ema(0.9)),
        Case(presets.torch_ema(), peers.torch_ema(0.999)),
        Case(presets.torch_swa(), peers.torch_swa()),
        Case(presets.timm_v2(decay=0.9), peers.register_and_update(0.9)),
        Case(presets.timm_v3(), peers.timm_v3(0.9999)),
        Case(presets.timm_v3(decay=0.9, min_decay=0.5), peers.timm_v3(0.9, 0.5)),
        Case(presets.timm_v3(use_warmup=True), peers.timm_v3(0.9999, warmup=True)),
        Case(
            presets.timm_v3(
                decay=0.6, min_decay=0.2, update_after_step=2, use_warmup=True, warmup_gamma=3, warmup_power=0.75
            ),
            peers.timm_v3(0.6, 0.2, 2, True, 3, 0.75),
        ),
        Case(presets.ema_pytorch(), peers.ema_pytorch(0.9999, 100, 10)),
        Case(presets.ema_pytorch(update_after_step=0, update_every=1), peers.ema_pytorch(0.9999, 0, 1)),
        Case(presets.ema_pytorch(update_after_step=4, update_every=2), peers.ema_pytorch(0.9999, 4, 2)),
        Case(presets.ema_pytorch(update_after_step=4, update_every=3), peers.ema_pytorch(0.9999, 4, 3)),
        Case(
            presets.ema_pytorch(beta=0.6, update_after_step=1, update_every=3, inv_gamma=2, power=0.75, min_value=0.4),
            peers.ema_pytorch(0.6, 1, 3, 2, 0.75, 0.4),
        ),
        Case(presets.ema_pytorch(beta=1, update_after_step=2, update_every=2), peers.ema_pytorch(1, 2, 2)),
        Case(presets.fadel_torch_ema(decay=0.3), peers.fadel_torch_ema(0.3)),
        Case(presets.fadel_torch_ema(decay=0.9, use_num_updates=False), peers.register_and_update(0.9)),
        Case(presets.diffusers(), peers.diffusers(0.9999)),
        Case(presets.diffusers(decay=0.35, min_decay=0.2, update_after_step=2), peers.diffusers(0.35, 0.2, 2)),
        Case(
            presets.diffusers(use_ema_warmup=True, inv_gamma=2, power=0.75),
            peers.diffusers(0.9999, warmup=True, gamma=2, power=0.75),
        ),
        Case(presets.lightning(decay=0.9), peers.lightning(0.9, 1, 0)),
        Case(
            presets.lightning(decay=0.9, update_every_n_steps=2, update_starting_at_step=3), peers.lightning(0.9, 2, 3)
        ),
        Case(presets.composer(half_life="2ba"), peers.composer(2**-0.5, 0, 1)),
        Case(presets.composer(half_life=None, smoothing=0.9, ema_start="3ba"), peers.composer(0.9, 3, 1)),
        Case(presets.composer(half_life="10ba", update_interval="3ba"), peers.composer(2 ** (-3 / 10), 0, 3)),
        Case(
            presets.composer(half_life="10ba", ema_start="2ba", update_interval="2ba"),
            peers.composer(2 ** (-2 / 10), 2, 2),
        ),
        Case(presets.nemo(decay=0.9), peers.nemo(0.9, 1)),
        Case(presets.nemo(decay=0.9, every_n_steps=3), peers.nemo(0.9, 3)),
        Case(narrow, peers.edm2_power(0.05)),
        Case(wide, peers.edm2_power(0.1)),
        Case(single, peers.edm2_power(0.2)),
        Case(ramp, peers.edm2_traditional(math.inf, 0.09, 1)),
        Case(bounded, peers.edm2_traditional(0.002, 0.5, 1000)),
        Case(constant, peers.edm2_traditional(0.002, None, 1000)),
        Case(presets.optax(decay=0.9), peers.optax(0.9, True)),
        Case(presets.optax(decay=0.9, debias=False, accumulator_dtype="float64"), peers.optax(0.9, False)),
        Case(presets.tensorflow(decay=0.9), peers.register_and_update(0.9)),
        Case(presets.tensorflow(decay=0.3, num_updates=0), peers.tensorflow(0.3, 0)),
        Case(presets.tensorflow(decay=0.9, zero_debias=True), peers.optax(0.9, True)),
        Case(presets.keras(), peers.keras(0.99)),
        Case(presets.torchtitan(), peers.torchtitan(None, 0.05, 0, 0, 1)),
        Case(
            presets.torchtitan(half_life_fraction=0.5, start_step=2, step_bias=3, update_every_n_steps=3),
            peers.torchtitan(None, 0.5, 2, 3, 3),
        ),
        Case(presets.torchtitan(decay=0.9, update_every_n_steps=2), peers.torchtitan(0.9, 0.05, 0, 0, 2)),
        Case(presets.ultralytics(), peers.ultralytics(0.9999, 2000)),
        Case(presets.ultralytics(decay=0.9, tau=3, updates=5), peers.ultralytics(0.9, 3, 5)),
        Case(presets.mmengine(), peers.mmengine("ema", 0.0002, 100, 1, 0)),
        Case(presets.mmengine(momentum=0.1, interval=2, begin_iter=4), peers.mmengine("ema", 0.1, 100, 2, 4)),
        Case(
            presets.mmengine(type="annealing", momentum=0.4, gamma=3, interval=2),
            peers.mmengine("annealing", 0.4, 3, 2, 0),
        ),
        Case(presets.mmengine(type="swa", interval=3, begin_iter=2), peers.mmengine("swa", 0, 1, 3, 2)),
        Case(presets.k_diffusion(), peers.k_diffusion()),
        Case(
            presets.k_diffusion(inv_gamma=2, power=0.75, min_value=0.3, max_value=0.5),
            peers.k_diffusion(2, 0.75, 0.3, 0.5),
        ),
        Case(presets.k_diffusion(start_at=3), peers.k_diffusion(start_at=3)),
        Case(presets.fairseq(ema_decay=0.9), peers.fairseq(0.9, 0, 1)),
        Case(presets.fairseq(ema_decay=0.9, ema_start_update=4, ema_update_freq=2), peers.fairseq(0.9, 4, 2)),
    ]


CASES = cases()


def before_clone(case: Case, step: int) -> bool:
    """Composer has no average before its clone; the service has copies."""
    return case.average.preset.startswith("composer") and step <= case.average.delay_updates


@pytest.fixture(scope="module")
def trajectories(module_client: Client) -> dict[str, list[float]]:
    """The shadows of every case after each push, by preset text."""
    found: dict[str, list[float]] = {}
    for begin in range(0, len(CASES), AVERAGES_PER_RUN):
        group = [case.average for case in CASES[begin : begin + AVERAGES_PER_RUN]]
        named = {f"a{index}": average for index, average in enumerate(group)}
        run_name = f"presets-{begin}"
        averages = [rename(average, name) for name, average in named.items()]
        with module_client.open_run(run_name, {"w": np.zeros(1, np.float32)}, averages) as run:
            run.push_initial({"w": np.zeros(1, np.float32)})
            for step in range(1, STEPS + 1):
                run.update(step, {"w": np.full(1, step, np.float32)})
                run.flush()
                for name, average in named.items():
                    shadow = module_client.get_shadow(run_name, name, step=step)
                    found.setdefault(key(average), []).append(float(shadow.tensors["w"][0]))
        module_client.delete_run(run_name)
    return found


def rename(average: Average, name: str) -> Average:
    from dataclasses import replace

    return replace(average, name=name)


def key(average: Average) -> str:
    return f"{average.name} {average.preset}"


def test_every_preset_has_a_case() -> None:
    tested = {case.average.preset.split(":")[0].replace("-", "_") for case in CASES}
    functions = {name for name in presets.__all__ if name[0].islower()}
    assert tested == functions


@pytest.mark.parametrize("case", CASES, ids=lambda case: key(case.average))
def test_trajectory_is_the_peers(trajectories: dict[str, list[float]], case: Case) -> None:
    expected = case.peer(0.0, [float(step) for step in range(1, STEPS + 1)])
    found = trajectories[key(case.average)]
    steps = [step for step in range(1, STEPS + 1) if not before_clone(case, step)]
    assert len(steps) >= GOLDEN
    assert [found[step - 1] for step in steps] == pytest.approx(
        [expected[step - 1] for step in steps], rel=RELATIVE_MAX, abs=0
    )


@pytest.mark.parametrize(
    ("average", "golden"),
    [
        (presets.torch_ema(decay=0.9), [1, 1.1, 1.29, 1.561, 1.9049, 2.31441]),
        (presets.timm_v2(decay=0.9), [0.1, 0.29, 0.561, 0.9049, 1.31441, 1.782969]),
        (presets.timm_v3(use_warmup=True), [1, 1.629961, 2.288607, 2.967774, 3.662785, 4.370619]),
        (presets.diffusers(), [1, 1.818182, 2.704545, 3.601399, 4.500500, 5.400200]),
        (presets.optax(decay=0.9), [1, 1.526316, 2.070111, 2.631288, 3.209714, 3.805218]),
        (presets.torch_swa(), [1, 1.5, 2, 2.5, 3, 3.5]),
        (presets.edm2()[1], [1, 1.995920, 2.959812, 3.893965, 4.811820, 5.720485]),
    ],
    ids=lambda value: value.preset if isinstance(value, Average) else "",
)
def test_golden_trajectories(trajectories: dict[str, list[float]], average: Average, golden: list[float]) -> None:
    """Numbers that were seen where the peers' own sources ran."""
    assert trajectories[key(average)][:GOLDEN] == pytest.approx(golden, rel=RELATIVE_MAX)
