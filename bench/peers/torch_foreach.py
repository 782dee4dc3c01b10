"""`torch._foreach_mul_` and `_foreach_add_` on one thread: how PyTorch itself averages on a CPU."""

from __future__ import annotations

import time

import torch
from commands import serve

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}
DECAY = 0.999
TENSOR_ELEMENTS_MAX = 1 << 20


def fold(dtype: str, elements: int, seconds: float, averages: int = 1) -> float:
    """Fold weights of `dtype` into float32 averages for some CPU seconds; return 10⁹ elements per second."""
    torch.set_num_threads(1)
    shadows = [torch.randn(elements).split(TENSOR_ELEMENTS_MAX) for _ in range(averages)]
    weights = torch.randn(elements).to(DTYPES[dtype]).split(TENSOR_ELEMENTS_MAX)
    folds = 0
    began = time.thread_time()
    while (elapsed := time.thread_time() - began) < seconds:
        for shadow in shadows:
            torch._foreach_mul_(shadow, DECAY)
            torch._foreach_add_(shadow, weights, alpha=1 - DECAY)
        folds += 1
    return folds * elements / elapsed / 1e9


if __name__ == "__main__":
    serve(fold=fold)
