"""The presets are the command line's: the same options in the same order, and the same averages, field by field."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from support import ROOT

from shadowkeep import Average, averages
from shadowkeep.averages.preset import number_text, option_text
from shadowkeep.wire.fields import fields_of

MAIN = ROOT / "dist" / "main.js"
COMMON = {"name", "precision", "include", "exclude"}
CLI = (ROOT / "dist" / "cli" / "index.js").as_uri()
EACH_TEXT = f"""
import {{ runCli }} from {json.dumps(CLI)};
for (const text of process.argv.slice(1)) await runCli(["presets", "--json", text]);
"""
# The k-th row takes the k-th value of each option; shorter lists begin again.
GRID: dict[str, dict[str, list[Any]]] = {
    "textbook": {"decay": [0, 0.999, 1]},
    "torch_ema": {"decay": [0.5], "device": ["cpu"], "use_buffers": [True, False]},
    "torch_swa": {"device": [None]},
    "timm_v2": {"decay": [0.9998]},
    "timm_v3": {
        "decay": [0.9998],
        "min_decay": [0.1],
        "update_after_step": [100],
        "use_warmup": [True, False],
        "warmup_gamma": [2.5],
        "dtype": ["float64"],
        "stochastic_rounding": [False],
        "foreach": [True],
        "exclude_buffers": [False, True],
    },
    "ema_pytorch": {
        "beta": [0.99, 1, 0.9, 1],
        "update_after_step": [0, 7, 7, 6],
        "update_every": [1, 3, 1, 3],
        "power": [0.75],
        "min_value": [0.2],
        "use_foreach": [True],
    },
    "fadel_torch_ema": {"decay": [0.99], "use_num_updates": [True, False]},
    "diffusers": {"decay": [0.99], "min_decay": [0.5], "use_ema_warmup": [True, False], "update_after_step": [3, 0]},
    "lightning": {"decay": [0.9], "update_every_n_steps": [1, 4, 4], "update_starting_at_step": [None, 0, 9]},
    "composer": {"half_life": ["10ba"], "ema_start": ["0.0dur", "0ba", "7ba"], "update_interval": [None, "1ba", "4ba"]},
    "nemo": {"decay": [0.99], "every_n_steps": [1, 5], "validate_original_weights": [True], "cpu_offload": [True]},
    "edm2": {"stds": [(0.05,), (0.05, 0.1, 0.25)]},
    "optax": {"decay": [0.99], "debias": [True, False, True], "accumulator_dtype": [None, "float32", "float64"]},
    "tensorflow": {"decay": [0.99], "num_updates": [None, 0, 12]},
    "keras": {"ema_momentum": [0.9], "ema_overwrite_frequency": [None]},
    "torchtitan": {
        "decay": [None, 0.9, None],
        "half_life_fraction": [0.1],
        "start_step": [0, 5, 7],
        "step_bias": [3],
        "update_every_n_steps": [1, 2],
    },
    "ultralytics": {"decay": [0.9], "tau": [1e-7, 1e21], "updates": [10]},
    "mmengine": {"type": ["ema"], "momentum": [0.01], "interval": [1, 3], "begin_iter": [0, 5]},
    "k_diffusion": {"inv_gamma": [2], "power": [0.75], "max_value": [0.9], "start_at": [0, 3]},
    "fairseq": {"ema_decay": [0.9], "ema_start_update": [0, 1, 5], "ema_update_freq": [1, 4, 2], "ema_fp32": [True]},
}
SINGLE: list[tuple[str, dict[str, Any]]] = [
    ("composer", {"half_life": None, "smoothing": 0.9}),
    ("composer", {"half_life": "100ba", "ema_start": "20ba", "update_interval": "10ba"}),
    ("edm2", {"halflife_Mimg": 0.5, "batch_size": 2048}),
    ("edm2", {"halflife_Mimg": float("inf"), "rampup_ratio": 0.05, "batch_size": 32}),
    ("edm2", {"halflife_Mimg": 0.7, "rampup_ratio": None, "batch_size": 3}),
    ("tensorflow", {"decay": 0.9, "zero_debias": True}),
    ("mmengine", {"type": "annealing", "momentum": 0.001, "gamma": 50, "interval": 2}),
    ("mmengine", {"type": "swa", "interval": 4, "begin_iter": 2}),
]


def grid() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each preset: nothing but what it requires, then rows with all options given."""
    for preset, options in GRID.items():
        required = {
            name: options[name][0]
            for name, row in inspect.signature(getattr(averages, preset)).parameters.items()
            if row.default is row.empty and row.kind is row.KEYWORD_ONLY
        }
        yield preset, required
        for row in range(max(map(len, options.values()))):
            yield preset, {name: values[row % len(values)] for name, values in options.items()}
    yield from SINGLE


def as_json(average: Average) -> dict[str, Any]:
    """Return the proto's JSON, without what is the default, as the command line writes it."""
    message = average.to_message()
    defaults = {"precision": "F32", "delay_mode": "COPY_UNTIL", "every": 1, "decay_unit": "PER_UPDATE"}
    defaults["index_unit"] = "UPDATES"
    found: dict[str, Any] = {}
    for row in fields_of(type(message)):
        value = getattr(message, row.name)
        if row.kind == "message" and value is not None:
            parameters = {inner.name: getattr(value, inner.name) for inner in fields_of(type(value))}
            keep = row.name == "power_function"
            found[row.name] = {name: item for name, item in parameters.items() if item is not None and (item or keep)}
            continue
        value = value.name if isinstance(value, IntEnum) else value
        if value and value != defaults.get(row.name):
            found[row.name] = value
    return found


def command_lines(texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return what `shadowkeep presets --json TEXT` prints for each text; one process is the command line for all."""
    done = subprocess.run(
        ["node", "--input-type=module", "-e", EACH_TEXT, "--", *texts], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [
        [{snake_case(name): parameters(value) for name, value in row.items()} for row in json.loads(line)]
        for line in done.stdout.splitlines()
    ]


def parameters(value: Any) -> Any:
    return {snake_case(name): item for name, item in value.items()} if isinstance(value, dict) else value


def snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: "_" + capital[0].lower(), name)


def text_of(preset: str, options: dict[str, Any]) -> str:
    given = ",".join(f"{name}={option_text(value)}" for name, value in options.items())
    name = preset.replace("_", "-")
    return f"{name}:{given}" if given else name


def test_presets_and_their_options_are_the_command_lines() -> None:
    done = subprocess.run(["node", str(MAIN), "presets", "--json"], capture_output=True, text=True, check=True)
    theirs = {
        row["name"]: [option["name"] for option in row["options"]] for row in json.loads(done.stdout) if "peer" in row
    }
    ours = {
        name.replace("_", "-"): [
            row.name
            for row in inspect.signature(getattr(averages, name)).parameters.values()
            if row.kind is row.KEYWORD_ONLY and row.name not in COMMON
        ]
        for name in averages.__all__
        if name[0].islower()
    }
    assert ours == theirs


def test_what_the_peers_do_with_buffers_is_the_command_lines() -> None:
    done = subprocess.run(["node", str(MAIN), "presets", "--json"], capture_output=True, text=True, check=True)
    theirs = {row["name"]: row.get("buffers") for row in json.loads(done.stdout) if "peer" in row}
    ours = {}
    for preset, options in GRID.items():
        signature = inspect.signature(getattr(averages, preset)).parameters
        required = {
            name: options[name][0] for name, row in signature.items() if row.default is row.empty and name in options
        }
        made = getattr(averages, preset)(**required)
        first = made[0] if isinstance(made, list) else made
        ours[preset.replace("_", "-")] = first.buffers
    assert ours == theirs


def test_every_expansion_is_the_command_lines() -> None:
    cases = list(grid())
    theirs = command_lines([text_of(*case) for case in cases])
    for (preset, options), their in zip(cases, theirs, strict=True):
        made = getattr(averages, preset)(**options)
        ours = [as_json(average) for average in (made if isinstance(made, list) else [made])]
        assert ours == their, text_of(preset, options)


def test_common_options_are_the_command_lines() -> None:
    average = averages.timm_v3(name="mine", precision="F64", include=["a.*", "b"], exclude=["*.bias"])
    text = "mine=timm-v3:precision=F64,include=a.*+b,exclude=*.bias"
    assert [as_json(average)] == command_lines([text])[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9998, "0.9998"), (1.0, "1"), (0.0, "0"), (-2.5, "-2.5"), (1e-6, "0.000001"), (1e-7, "1e-7"),
        (1.5e-9, "1.5e-9"), (1e20, "100000000000000000000"), (1e21, "1e+21"), (123456.5, "123456.5"),
        (2 / 3, str(2 / 3)), (1.25e22, "1.25e+22"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_javascript_does(value: float, text: str) -> None:
    assert number_text(value) == text
    assert float(text) == value


def test_dtypes_are_written_by_their_names() -> None:
    assert option_text(np.float32) == "float32"
    assert option_text(np.dtype("float64")) == "float64"
    assert option_text(set()) == "none"
