"""Shadowkeep for PyTorch: `EMA` with the API that people know, and loading a shadow into a module.

    ema = shadowkeep.torch.EMA(model, "127.0.0.1:50051", run="my-run", decay=0.999)
    ema.register()
    for batch in batches:
        ...                       # forward, backward, optimizer.step()
        ema.update()              # takes a snapshot; a thread sends it
    with ema.average_parameters():
        evaluate(model)

The same lines in each process of a distributed training, replicated or sharded: each sends its part.

An evaluator in another process:

    shadow = shadowkeep.connect("127.0.0.1:50051").get_shadow("my-run")
    shadowkeep.torch.load_shadow(shadow, model)
"""

from .ema import EMA
from .load import load_shadow, shadow_tensors
from .options import EMAKeywords, EMAOptions
from .world import World, torchrun_world
from .wrappers import canonical_names

__all__ = [
    "EMA", "EMAKeywords", "EMAOptions", "World", "canonical_names", "load_shadow", "shadow_tensors", "torchrun_world",
]  # fmt: skip
