"""The averages of a run: `Average` makes one from a formula, the presets from what a peer calls its options.

    Average.ema("ema", decay=0.999)                          shadow = 0.999 * shadow + 0.001 * weights
    shadowkeep.averages.timm_v3(decay=0.9998, use_warmup=True)   what timm's ModelEmaV3 computes

A preset takes the peer's own keywords with the peer's defaults, and `name`, `precision`, `include`, `exclude`. Options
that only place or speed up the peer's copy in the trainer (device, foreach, ...) are accepted and change nothing.
"""

from .average import Average
from .peers_composer import composer
from .peers_edm2 import edm2
from .peers_inverse_power import ema_pytorch, k_diffusion
from .peers_mmengine import mmengine
from .peers_ramps import torchtitan, ultralytics
from .peers_ratio_warmup import diffusers, fadel_torch_ema, tensorflow
from .peers_textbook import keras, optax, textbook
from .peers_timm import timm_v2, timm_v3
from .peers_torch import lightning, torch_ema, torch_swa
from .peers_trainers import fairseq, nemo
from .preset import PresetOptions
from .rule import AverageOptions, BuffersName, PrecisionName, Schedule, StartName

__all__ = [
    "Average", "AverageOptions", "BuffersName", "PrecisionName", "PresetOptions", "Schedule", "StartName", "composer",
    "diffusers", "edm2", "ema_pytorch", "fadel_torch_ema", "fairseq", "k_diffusion", "keras", "lightning", "mmengine",
    "nemo", "optax", "tensorflow", "textbook", "timm_v2", "timm_v3", "torch_ema", "torch_swa", "torchtitan",
    "ultralytics",
]  # fmt: skip
