"""The models that are pushed."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[np.float32]]

SEED = 20260203
SMALL_ELEMENTS_MAX = 1023  # under 4 KiB of float32
# Extents of the large tensors: projections and embeddings of a model of about a billion parameters, scaled down to fit.
LARGE_SHAPES = ((2048, 2048), (2048, 2048), (2048, 5632), (5632, 2048), (1024, 1024), (3, 1000, 257))


def mixed(total_bytes: int, small_count: int) -> tuple[npt.NDArray[np.float32], Weights]:
    """Return the elements of a model one after another, and its tensors as views of them.

    `small_count` tensors are smaller than 4 KiB and lie between the large ones, as biases and norms do.
    """
    chance = random.Random(SEED)
    small = [(chance.randint(1, SMALL_ELEMENTS_MAX),) for _ in range(small_count)]
    large = list(_large_shapes(total_bytes // 4 - sum(extent for (extent,) in small)))
    shapes: list[tuple[int, ...]] = []
    for index, shape in enumerate(large):
        shapes += [shape, *small[index * small_count // len(large) : (index + 1) * small_count // len(large)]]
    flat = random_elements(total_bytes // 4)
    weights, start = {}, 0
    for index, shape in enumerate(shapes):
        size = int(np.prod(shape))
        weights[f"blocks.{index}.weight"] = flat[start : start + size].reshape(shape)
        start += size
    return flat, weights


def equal(count: int, elements: int) -> Weights:
    """Return `count` tensors of `elements` each that share their memory: a large model need not fit here."""
    tensor = random_elements(elements)
    return {f"blocks.{index}.weight": tensor for index in range(count)}


def random_elements(count: int) -> npt.NDArray[np.float32]:
    """Return normal float32 values; a block of them is repeated, which is faster and no easier to fold."""
    block = np.random.default_rng(SEED).standard_normal(min(count, 1 << 20), dtype=np.float32)
    return np.resize(block, count)


def _large_shapes(elements: int) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    while elements > 0:
        shape = LARGE_SHAPES[len(shapes) % len(LARGE_SHAPES)]
        if (size := int(np.prod(shape))) > elements:
            shape, size = (elements,), elements
        shapes.append(shape)
        elements -= size
    return shapes
