"""What of a DTensor lies in this process, by its placements, and which processes hold the same.

Along each dimension of the tensor the local memory is a list of runs of indices. A placement takes its share of them,
as `torch.chunk` does, mesh dimension by mesh dimension from left to right; a strided one, which FSDP2 makes where
tensor parallelism has sharded the same dimension before, takes its share of each of `split_factor` chunks:

    8 indices, mesh (2, 2)       _StridedShard(0, split_factor=2)   then Shard(0)
    on coordinate (0, 1):        0 1 . .  4 5 . .                   . . . .  4 5 . .
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from .regions import BoxRegion

# (first index, number of indices)
Run = tuple[int, int]


def as_dtensor(tensor: torch.Tensor) -> Any:
    """Return the tensor when it is a DTensor, else None. Its class is not imported for that: it may not be there."""
    return tensor if hasattr(type(tensor), "device_mesh") else None


def local_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return this process's memory of a tensor."""
    dtensor = as_dtensor(tensor)
    if dtensor is None:
        return tensor
    with torch.no_grad():
        local: torch.Tensor = dtensor.to_local()
        return local


def memory(tensor: torch.Tensor) -> torch.Tensor:
    """Return this process's memory of a tensor as it travels: complex numbers as pairs of floats."""
    local = local_tensor(tensor)
    return torch.view_as_real(local) if local.is_complex() else local


def travel_shape(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the whole tensor's shape as it travels: complex numbers have a last dimension of 2."""
    return (*tensor.shape, 2) if tensor.is_complex() else tuple(tensor.shape)


def whole_region(shape: Sequence[int]) -> BoxRegion:
    """Return the region of a tensor that is here as it is."""
    origin = (0,) * len(shape)
    return BoxRegion(origin, tuple(shape), origin, is_all=True)


def local_regions(name: str, tensor: torch.Tensor) -> list[BoxRegion]:
    """Return the boxes of the tensor that are here, each with its place in the local memory.

    Raises:
        ValueError: a placement is Partial, or one that this module does not know.
    """
    dtensor = as_dtensor(tensor)
    shape = travel_shape(tensor)
    if dtensor is None:
        return [whole_region(shape)]
    coordinate = dtensor.device_mesh.get_coordinate()
    if coordinate is None:
        return []
    runs: list[list[Run]] = [[(0, extent)] for extent in shape]
    for size, index, placement in zip(dtensor.device_mesh.shape, coordinate, dtensor.placements, strict=True):
        if placement.is_replicate():
            continue
        dimension = _shard_dimension(name, placement)
        chunks = _chunks(runs[dimension], getattr(placement, "split_factor", 1))
        runs[dimension] = _merged(run for chunk in chunks for run in _chunks(chunk, size)[index])
    local = tuple(memory(tensor).shape)
    expected = tuple(_length(each) for each in runs)
    if local != expected and 0 not in (*local, *expected):
        raise ValueError(
            f"tensor {name!r} has placements {dtensor.placements}, which give this process the shape "
            f"{list(expected)}, but it has {list(local)}"
        )
    return _boxes(runs, local)


def replica_ranks(tensor: torch.Tensor, size: int) -> tuple[int, ...] | None:
    """Return the ranks that hold just what this one holds of the tensor, itself among them, rising.

    None: it is no DTensor. A mesh may be a part of another one; over the other dimensions of that, it is replicated.

    Raises:
        ValueError: the whole mesh has not `size` ranks.
    """
    dtensor = as_dtensor(tensor)
    if dtensor is None:
        return None
    mesh = dtensor.device_mesh
    root = _root_mesh(mesh)
    if root.size() != size:
        raise ValueError(f"the device mesh {root} has {root.size()} ranks, {size} processes push")
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return ()
    placed = zip(dtensor.placements, coordinate, strict=True)
    inside = mesh.mesh[tuple(slice(None) if placement.is_replicate() else index for placement, index in placed)]
    where = {int(root.mesh[index]): index for index in itertools.product(*map(range, root.mesh.shape))}
    places = [where[rank] for rank in mesh.mesh.flatten().tolist()]
    covered = [len({place[dimension] for place in places}) > 1 for dimension in range(root.mesh.ndim)]
    ranks: set[int] = set()
    for rank in inside.flatten().tolist():
        index = zip(where[rank], covered, strict=True)
        ranks.update(root.mesh[tuple(at if fixed else slice(None) for at, fixed in index)].flatten().tolist())
    return tuple(sorted(ranks))


def _shard_dimension(name: str, placement: Any) -> int:
    if placement.is_partial() or not hasattr(placement, "dim"):
        raise ValueError(
            f"tensor {name!r} has placement {placement!r}: its values are in no process, those of Shard and "
            "Replicate can be sent"
        )
    return int(placement.dim)


def _root_mesh(mesh: Any) -> Any:
    if hasattr(mesh, "_get_root_mesh"):
        return mesh._get_root_mesh()
    # Older versions keep it beside the meshes.
    from torch.distributed import device_mesh

    resources: Any = device_mesh._mesh_resources
    finder = getattr(resources, "get_root_mesh", None) or resources.get_parent_mesh
    return finder(mesh) or mesh


def _chunks(runs: Sequence[Run], count: int) -> list[list[Run]]:
    """Cut runs of indices as `torch.chunk` does, the last chunks shorter or empty."""
    size = -(-_length(runs) // count)
    chunks: list[list[Run]] = [[] for _ in range(count)]
    number, room = 0, size
    for first, length in runs:
        while length > 0:
            if room == 0:
                number, room = number + 1, size
            taken = min(length, room)
            chunks[number].append((first, taken))
            first, length, room = first + taken, length - taken, room - taken
    return chunks


def _merged(runs: Any) -> list[Run]:
    merged: list[Run] = []
    for first, length in runs:
        if merged and sum(merged[-1]) == first:
            merged[-1] = (merged[-1][0], merged[-1][1] + length)
        else:
            merged.append((first, length))
    return merged


def _length(runs: Sequence[Run]) -> int:
    return sum(length for _, length in runs)


def _boxes(runs: Sequence[Sequence[Run]], local: Sequence[int]) -> list[BoxRegion]:
    """Combine the runs of all dimensions; one box where each dimension has one."""
    located = []
    for each in runs:
        begins = itertools.accumulate((length for _, length in each), initial=0)
        located.append([(*run, begin) for run, begin in zip(each, begins, strict=False)])
    boxes = []
    for sides in itertools.product(*located):
        offset, extent, begin = zip(*sides, strict=True) if sides else ((), (), ())
        boxes.append(BoxRegion(offset, extent, begin, is_all=extent == tuple(local)))
    return boxes
