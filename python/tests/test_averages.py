"""`Average` and the presets: what they make, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import shadowkeep
from shadowkeep import Average, Client, InvalidArgumentError, wire

# As callers without a type checker see it.
averages: Any = shadowkeep.averages
Unchecked: Any = Average


def test_all_fields_travel() -> None:
    average = Average.half_life(
        "h",
        updates=10,
        start="ZEROS",
        precision="F64",
        delay_updates=3,
        delay_mode="HOLD_UNTIL",
        every=4,
        every_offset=2,
        decay_unit="PER_STEP",
        first_index=5,
        index_unit="PUSHES",
        bias_correction=True,
        include=["a*"],
        exclude=["b"],
        preset="text",
    )
    assert average.to_message() == wire.Average(
        "h",
        wire.Start.ZEROS,
        wire.DType.F64,
        delay_updates=3,
        delay_mode=wire.DelayMode.HOLD_UNTIL,
        every=4,
        decay_unit=wire.DecayUnit.PER_STEP,
        include=["a*"],
        exclude=["b"],
        preset="text",
        half_life=wire.HalfLife(10),
        bias_correction=True,
        first_index=5,
        index_unit=wire.IndexUnit.PUSHES,
        every_offset=2,
    )


ALL = [
    Average.ema("ema", decay=0.9, start="FIRST"),
    Average.half_life("half-life", updates=2),
    Average.mean("mean"),
    Average.ratio_warmup("ratio", decay=0.9, decay_min=0.15),
    Average.inverse_power("inverse", decay_max=0.9),
    Average.exponential_ramp("ramp", decay=0.9, tau=3),
    Average.half_life_fraction("fraction", fraction=0.5),
    Average.annealed_momentum("annealed", momentum=0.2, gamma=3),
    Average.cosine("cosine", decay=0.5, steps=4),
    Average.power("gamma", gamma=2),
    Average.power("sigma", sigma_rel=0.2, decay_unit="PER_STEP"),
    Average.half_life_ramp_up("ramp-up", ratio=0.5, half_life=2),
    Average.ema("corrected", decay=0.9, start="ZEROS", bias_correction=True),
]


def test_the_service_takes_every_formula(client: Client, run_name: str) -> None:
    weights = {"w": np.ones(3, np.float32)}
    with client.open_run(run_name, weights, ALL) as run:
        run.update(1, weights)
        run.update(2, {"w": np.full(3, 2, np.float32)})
    info = client.get_run(run_name)
    assert [average.name for average in info.averages] == [average.name for average in ALL]
    weights_used = {state.name: state.weight for state in info.states}
    expected = {
        "ema": 0.1,
        "half-life": 1 - 0.5**0.5,
        "mean": 0.5,
        "ratio": 1 - max(0.15, 2 / 11),
        "inverse": 2 ** (-2 / 3),
        "ramp": 1 - 0.9 * (1 - np.exp(-1 / 3)),
        "fraction": 1 - 2**-2,
        "annealed": 3 / 4,
        "cosine": 0.5 * (np.cos(np.pi / 4) + 1) / 2,
        "gamma": 1 - 0.5**3,
        "ramp-up": 1 - 2 ** (-1 / 1),
        "corrected": 0.1 / (1 - 0.81),
    }
    for name, weight in expected.items():
        assert weights_used[name] == pytest.approx(weight, rel=1e-12), name


@pytest.mark.parametrize(
    ("make", "error", "problem"),
    [
        (lambda: Average.ema("a", decay=1.5), ValueError, "decay must be a number from 0 to 1, got 1.5"),
        (lambda: Average.ema("a", decay=float("nan")), ValueError, "decay must be finite"),
        (lambda: Unchecked.ema("a", decay="0.9"), TypeError, "decay must be a number, got '0.9'"),
        (lambda: Average.ema("a", decay=True), TypeError, "decay must be a number"),
        (lambda: Average.half_life("a", updates=0), ValueError, "updates must be a finite number above 0, got 0"),
        (lambda: Average.ratio_warmup("a", decay=0.1, decay_min=0.2), ValueError, "decay_min must not be above decay"),
        (lambda: Average.inverse_power("a", decay_min=0.5, decay_max=0.4), ValueError, r"decay_max \(0.4\), got 0.5"),
        (lambda: Average.cosine("a", decay=0.9, steps=0), ValueError, "steps must be an integer of at least 1"),
        (lambda: Unchecked.cosine("a", decay=0.9, steps=1.5), TypeError, "steps must be an integer of"),
        (lambda: Average.power("a", sigma_rel=0.3), ValueError, r"sigma_rel must be a number from .* to 0.2886"),
        (lambda: Average.power("a", sigma_rel=0), ValueError, "sigma_rel must be a number from"),
        (lambda: Average.power("a", gamma=-1), ValueError, "gamma must be a number from 0 to 1000000, got -1"),
        (lambda: Average.power("a"), ValueError, "exactly one of gamma"),
        (lambda: Average.power("a", gamma=1, sigma_rel=0.1), ValueError, "exactly one of gamma"),
        (lambda: Average.mean("a", every=0), ValueError, "every must be an integer of at least 1"),
        (lambda: Average.mean("a", every=2, every_offset=2), ValueError, r"must be below every \(2\), got 2"),
        (lambda: Average.mean("a", delay_updates=-1), ValueError, "delay_updates must be an integer of at least 0"),
        (lambda: Average.mean("a", bias_correction=True), ValueError, "bias_correction must be left out: it needs"),
        (lambda: Average.ema("a", decay=0.9, start="INITIAL", bias_correction=True), ValueError, "from ZEROS or FIRST"),
        (lambda: Unchecked.mean("a", include="*.weight"), TypeError, "include must be a list of name patterns"),
        (lambda: Unchecked.mean("a", start="LAST"), ValueError, "start must be one of ZEROS, "),
        (lambda: averages.timm_v3(decay=1.5), ValueError, "preset timm-v3: decay must be from 0 to 1, got 1.5"),
        (lambda: averages.timm_v3(use_warmup=1), TypeError, "use_warmup must be true or false, got 1"),
        (lambda: averages.timm_v3(use_warmup=True, min_decay=1, decay=0.9), ValueError, "min_decay must not be above"),
        (lambda: averages.timm_v3(warm=True), TypeError, "preset timm-v3 has no option 'warm', it has decay"),
        (lambda: averages.timm_v3(dtype="bfloat16"), ValueError, "dtype must be float32 or float64, got bfloat16"),
        (lambda: averages.timm_v3(dtype="float64", precision="F32"), ValueError, "precision must be F64"),
        (lambda: averages.timm_v2(0.9), TypeError, "by keyword"),
        (lambda: averages.textbook(), TypeError, "preset textbook: .*decay"),
        (lambda: averages.lightning(update_starting_at_epoch=1), ValueError, "update_starting_at_epoch=1 cannot be"),
        (lambda: averages.lightning(update_every_n_steps=0), ValueError, "update_every_n_steps must be from 1"),
        (lambda: averages.composer(half_life="1ep"), ValueError, "half_life=1ep cannot be honoured"),
        (lambda: averages.composer(smoothing=0.9), ValueError, "exactly one of half_life"),
        (lambda: averages.composer(half_life="0ba"), ValueError, "half_life must be from 1"),
        (lambda: averages.composer(ema_start="0.5dur"), ValueError, "ema_start=0.5dur cannot be honoured"),
        (lambda: averages.edm2(stds=[0.3]), ValueError, "stds must be a number from"),
        (lambda: averages.edm2(stds=[]), ValueError, "at least one"),
        (lambda: averages.edm2(halflife_Mimg=1), ValueError, "batch_size must be given"),
        (lambda: averages.edm2(stds=[0.1], batch_size=8), ValueError, "stds must be left out"),
        (lambda: averages.edm2(rampup_ratio=None, batch_size=8), ValueError, "never moves"),
        (lambda: averages.optax(decay=1), ValueError, "decay must be below 1 with debias"),
        (lambda: averages.optax(decay=0.9, accumulator_dtype=np.int8), ValueError, "accumulator_dtype must be"),
        (lambda: averages.tensorflow(decay=0.9, num_updates=1, zero_debias=True), ValueError, "num_updates=1 cannot"),
        (lambda: averages.keras(ema_overwrite_frequency=5), ValueError, "ema_overwrite_frequency=5 cannot be honoured"),
        (lambda: averages.mmengine(type="sma"), ValueError, "type must be ema, annealing or swa"),
        (lambda: averages.mmengine(type="swa", momentum=0.1), ValueError, "momentum must be left out"),
        (lambda: averages.mmengine(gamma=1), ValueError, "gamma must be left out with type=ema"),
        (lambda: averages.k_diffusion(min_value=0.1, start_at=1), ValueError, "min_value=0.1 cannot be honoured"),
        (lambda: averages.fairseq(ema_seed_model="x.pt"), ValueError, "ema_seed_model=x.pt cannot be .*push_initial"),
        (lambda: averages.ema_pytorch(ignore_names={"a"}), ValueError, "ignore_names=a cannot be honoured"),
        (lambda: averages.ema_pytorch(update_model_with_ema_every=3), ValueError, "update_model_with_ema_every=3"),
        (lambda: averages.torchtitan(half_life_fraction=0), ValueError, "half_life_fraction must be above 0"),
        (lambda: averages.torchtitan(enable=False), ValueError, "enable=false cannot be honoured"),
        (lambda: averages.ultralytics(tau=0), ValueError, "tau must be above 0"),
        (lambda: averages.diffusers(min_decay=0.5, decay=0.4), ValueError, "min_decay must not be above decay"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(make: Callable[[], Any], error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        make()


def test_numbers_of_other_libraries_are_numbers() -> None:
    average = averages.timm_v3(decay=np.float64(0.9), update_after_step=np.int64(5))
    assert average == averages.timm_v3(decay=0.9, update_after_step=5)


def test_options_without_effect_change_nothing() -> None:
    plain = averages.ema_pytorch()
    placed = averages.ema_pytorch(use_foreach=True, allow_different_devices=True, coerce_dtype=True)
    assert placed.preset == "ema-pytorch:allow_different_devices=true,use_foreach=true,coerce_dtype=true"
    changed = placed.to_message()
    changed.preset = plain.preset
    assert changed == plain.to_message()


def test_the_service_names_the_field_and_its_bound(client: Client, run_name: str) -> None:
    """What the constructors do not check, the service does."""
    weights = {"w": np.ones(3, np.float32)}
    with pytest.raises(InvalidArgumentError, match=r"include.*nothing|include.*no "):
        client.open_run(run_name, weights, [Unchecked.mean("a", include=["nothing.*"])])
    with pytest.raises(InvalidArgumentError, match="name"):
        client.open_run(run_name, weights, [Average.mean("not a name")])


def test_lists_of_averages_are_flattened(client: Client, run_name: str) -> None:
    weights = {"w": np.ones(3, np.float32)}
    client.open_run(run_name, weights, [averages.edm2(), averages.torch_swa(name="swa")])
    assert [average.name for average in client.get_run(run_name).averages] == ["edm2-0.05", "edm2-0.1", "swa"]
    assert [average.preset for average in client.get_run(run_name).averages] == ["edm2", "edm2", "torch-swa"]


def test_every_schedule_starts_from_the_first_update_unless_told_otherwise() -> None:
    makes = (Average.ema("a", decay=0.9), Average.half_life("b", updates=2), Average.mean("c"))
    assert [average.start for average in makes] == ["FIRST"] * 3
