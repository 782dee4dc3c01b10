"""What the tests of the integrations share: the textbook average, what was pulled, and whether they agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from shadowkeep import Client


def textbook(trajectory: list[Any], decay: float) -> Any:
    shadow = trajectory[0]
    for weights in trajectory[1:]:
        shadow = decay * shadow + (1 - decay) * weights
    return shadow


def pulled(client: Client, run_name: str) -> Any:
    """Return weight and bias of the tests' only layer, one after the other."""
    shadow = client.get_shadow(run_name)
    return np.concatenate([shadow.tensors[name].ravel() for name in ("layer.weight", "layer.bias")])


def close_to(actual: Any, expected: Any) -> bool:
    return bool(np.allclose(np.asarray(actual), expected.numpy(), rtol=2e-6, atol=1e-7))
