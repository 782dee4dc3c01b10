"""Modules that stand around others and leave no trace in the names: known by their classes, wherever they stand.

DistributedDataParallel          module             the model: its names begin here
  Sequential
    0: CheckpointWrapper         _checkpoint_…      in the names: 0
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from torch import nn

from .flat_params import FlatParameters

# Children of wrappers that are what is wrapped, by the wrapper's class or a base of it. None of the classes is imported
# for that: most of them are not there. A child of such a name in any other module is the user's own.
_INNER: dict[str, tuple[str, ...]] = {
    "torch.nn.parallel.distributed.DistributedDataParallel": ("module",),
    "torch.nn.parallel.data_parallel.DataParallel": ("module",),
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": ("_fsdp_wrapped_module",),
    "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.ActivationWrapper": ("_checkpoint_wrapped_module",),
    "torch._dynamo.eval_frame.OptimizedModule": ("_orig_mod",),
    "torch.optim.swa_utils.AveragedModel": ("module",),
    "lightning.fabric.wrappers._FabricModule": ("_forward_module", "_original_module"),
    "lightning_fabric.wrappers._FabricModule": ("_forward_module", "_original_module"),
    "opacus.grad_sample.gsm_base.AbstractGradSampleModule": ("_module",),
    "deepspeed.runtime.engine.DeepSpeedEngine": ("module",),
    "fairscale.nn.data_parallel.sharded_ddp.ShardedDataParallel": ("module",),
    "apex.parallel.distributed.DistributedDataParallel": ("module",),
    "megatron.core.distributed.data_parallel_base._BaseDataParallel": ("module",),
    "megatron.core.transformer.module.Float16Module": ("module",),
    "colossalai.interface.model.ModelWrapper": ("module",),
}

# From the names without wrappers to those of the run, for what is not known here. A mapping's keys are names or the
# beginnings of names up to a dot, its values what stands in their place ("" leaves the part out).
Names = Mapping[str, str] | Callable[[str], str]


def walk(model: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Yield each module, the model first: its name without wrappers, its name in the model, and the module itself.

    One that stands at several places is yielded at each of them.
    """
    yield from _walk(model, "", "", set())


def renamer(names: Names | None) -> Callable[[str], str]:
    """Return the function that `names` stands for."""
    if names is None:
        return _same
    if callable(names):
        return names
    table = dict(names)
    return lambda name: _renamed(name, table)


def canonical_names(model: nn.Module, names: Names | None = None) -> dict[str, str]:
    """Return the names of a model's tensors in its run, by those that `named_parameters` and `named_buffers` give.

    What DistributedDataParallel, FSDP, torch.compile, activation checkpointing, Fabric and other wrappers put before
    or between the parts of a name is left out: an evaluator's bare model has the same names.

    Args:
        model: wrapped or not.
        names: as in `EMA`.
    """
    rename = renamer(names)
    flat = FlatParameters(model)
    return {
        joined(raw, leaf): rename(joined(prefix, leaf))
        for prefix, raw, module in walk(model)
        for leaf in (*flat.of(module), *module._parameters.keys(), *module._buffers.keys())
    }


def joined(prefix: str, leaf: str) -> str:
    """Return a tensor's name."""
    return f"{prefix}.{leaf}" if prefix else leaf


def _walk(module: nn.Module, prefix: str, raw: str, above: set[int]) -> Iterator[tuple[str, str, nn.Module]]:
    if id(module) in above:
        return
    yield prefix, raw, module
    above.add(id(module))
    kind: Any = type(module)
    inner = _inner_of(kind)
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, prefix if name in inner else joined(prefix, name), joined(raw, name), above)
    above.remove(id(module))


@cache
def _inner_of(kind: Any) -> tuple[str, ...]:
    return next((inner for base in kind.__mro__ if (inner := _INNER.get(f"{base.__module__}.{base.__qualname__}"))), ())


def _renamed(name: str, table: Mapping[str, str]) -> str:
    """Replace the longest beginning that the table has."""
    if name in table:
        return table[name]
    end = name.rfind(".")
    while end > 0:
        if (begin := table.get(name[:end])) is not None:
            return joined(begin, name[end + 1 :])
        end = name.rfind(".", 0, end)
    return name


def _same(name: str) -> str:
    return name
