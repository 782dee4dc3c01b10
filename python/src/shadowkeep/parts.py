"""What carries a layout and may be too large for one message: it goes and comes in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from . import wire
from .errors import InternalError

# A size that both sides encode and decode in milliseconds.
PART_BYTES = 1 << 20

# Tags, lengths, enums and an offset of one tensor, and one extent of 2^50.
_ENTRY_BYTES_MAX = 32
_EXTENT_BYTES_MAX = 8


def open_run_parts(request: wire.OpenRunRequest) -> Iterator[wire.OpenRunRequest]:
    """Yield a request in one part, or in several: the first has every field, the others have more of the tensors."""
    begin, size = 0, 0
    part = request
    for index, tensor in enumerate(request.tensors):
        entry = len(tensor.name.encode()) + len(tensor.shape) * _EXTENT_BYTES_MAX + _ENTRY_BYTES_MAX
        if size > 0 and size + entry > PART_BYTES:
            yield replace(part, tensors=request.tensors[begin:index])
            part = wire.OpenRunRequest()
            begin, size = index, 0
        size += entry
    yield request if begin == 0 else replace(part, tensors=request.tensors[begin:])


def whole_run(name: str, ask: Callable[[wire.GetRunRequest], wire.RunInfo]) -> wire.RunInfo:
    """Return a run with all its tensors; one that is opened anew while they are asked for is asked for again."""
    run = ask(wire.GetRunRequest(name))
    while len(run.tensors) < run.tensor_count:
        more = ask(wire.GetRunRequest(name, len(run.tensors)))
        if more.run_id != run.run_id:
            run = ask(wire.GetRunRequest(name))
        elif not more.tensors:
            raise InternalError(f"run {name!r} has {run.tensor_count} tensors, {len(run.tensors)} came")
        else:
            run.tensors += more.tensors
    return run


def all_runs(ask: Callable[[wire.ListRunsRequest], wire.ListRunsResponse]) -> list[wire.RunInfo]:
    """Return all runs."""
    runs: list[wire.RunInfo] = []
    while True:
        answer = ask(wire.ListRunsRequest(runs[-1].run if runs else ""))
        runs += answer.runs
        if not answer.more:
            return runs
        if not answer.runs:
            raise InternalError("a listing has more runs and names none")


def take_header(responses: Iterator[wire.GetShadowResponse]) -> wire.ShadowHeader:
    """Return the header of a read, with the tensors that did not fit into it."""
    first = next(responses, None)
    if first is None or first.header is None:
        raise InternalError("the read does not begin with a header")
    header = first.header
    while len(header.tensors) < header.tensor_count:
        response = next(responses, None)
        if response is None or response.tensors is None or not response.tensors.tensors:
            raise InternalError(f"the header has {header.tensor_count} tensors, {len(header.tensors)} came")
        header.tensors += response.tensors.tensors
    return header
