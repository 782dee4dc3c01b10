"""How a run is opened: from the options to the request, and from the answer to this writer's handle."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from . import wire
from .averages import Average
from .boxes import Box, checked_boxes, to_messages
from .connection import Connection
from .dtypes import float_dtype
from .errors import InternalError
from .layout import Layout, TensorSpecs
from .options import OpenRunOptions
from .progress import Progress
from .reconnection import SenderOptions
from .run import Run
from .step_sender import StepSender
from .update_stream import STALL_SECONDS_MAX


@dataclass(frozen=True, slots=True)
class RunOpener:
    """Opens runs; what that needs of a client.

    Attributes:
        calls: the connection for the request.
        streams: the one for steps.
        checksum: crc32c of chunks, or None to send none.
        timeout: deadline of a single request, seconds.
        reconnect_timeout: the client's, seconds.
    """

    calls: Connection
    streams: Connection
    checksum: wire.Checksum | None
    timeout: float
    reconnect_timeout: float

    def open(
        self,
        name: str,
        tensors: TensorSpecs,
        averages: Sequence[Average | Sequence[Average]],
        options: OpenRunOptions,
    ) -> Run:
        """Create a run or attach to it; arguments and errors are those of `Client.open_run`."""
        layout = Layout(tensors, float_dtype(options.wire_dtype), options.policies)
        flat = [entry for group in averages for entry in ([group] if isinstance(group, Average) else group)]
        boxes = _declared(layout, options)
        request = _request(name, layout, flat, options)
        patience = self.reconnect_timeout if options.reconnect_timeout is None else options.reconnect_timeout
        opened = self.calls.call(lambda stub: stub.open_run(request), patience)
        progress = Progress(opened.committed_step, opened.durable_step)
        # The stream opens when the last writer has come; the service says so when one does not.
        is_shared = options.writers > 1
        step_seconds = opened.limits.step_timeout_ms / 1000 if is_shared and opened.limits else 0
        sending = SenderOptions(
            self.checksum,
            open_timeout=self.timeout + step_seconds,
            reconnect_timeout=patience,
            stall_seconds=STALL_SECONDS_MAX + step_seconds,
            is_shared=is_shared,
        )
        sender = StepSender(self.streams, _stream_opening(opened, layout, options.writer, boxes), progress, sending)
        warns = options.non_finite != "ACCEPT"
        return Run(opened, layout, sender, progress, writer=options.writer, boxes=boxes, warns=warns)


def _request(name: str, layout: Layout, averages: Sequence[Average], options: OpenRunOptions) -> wire.OpenRunRequest:
    return wire.OpenRunRequest(
        name,
        layout.to_messages(),
        [average.to_message() for average in averages],
        options.writers,
        options.incarnation or "",
        wire.NonFinite[options.non_finite],
        options.resume_step,
        layout.rules,
        None if options.snapshots is None else options.snapshots.to_message(),
        None if options.retain is None else options.retain.to_message(),
        options.trainer_step,
    )


def _stream_opening(
    opened: wire.OpenRunResponse, layout: Layout, writer: int, boxes: Sequence[Box] | None
) -> wire.UpdateOpen:
    session = secrets.token_hex(16)
    opening = wire.UpdateOpen(opened.run, opened.generation, writer, [], layout.wire_dtype, session=session)
    if boxes is not None or opened.tensor_order:
        opening.boxes = _opening_boxes(layout, boxes, opened.tensor_order)
    return opening


def _declared(layout: Layout, options: OpenRunOptions) -> tuple[Box, ...] | None:
    """Return a writer's boxes, checked; None: it sends the whole layout."""
    if options.boxes is None:
        return None if options.writers == 1 else ()
    if options.writers == 1 and not options.boxes:
        raise ValueError("boxes is empty, and the only writer of a run sends the whole layout: leave it out")
    return checked_boxes(layout, options.boxes)


def _opening_boxes(layout: Layout, declared: Sequence[Box] | None, order: Sequence[int]) -> list[wire.Box]:
    """Return a writer's boxes as they travel.

    `order` is where in the run each of our tensors is, when that has them in another order: then a writer of the whole
    layout declares each tensor as a box, and its steps stay as they are.
    """
    if order and len(order) != len(layout.tensors):
        raise InternalError(f"the run has an order of {len(order)} tensors, the layout has {len(layout.tensors)}")
    indices = {tensor.name: order[i] if order else i for i, tensor in enumerate(layout.tensors)}
    if declared is None:
        declared = [Box(tensor.name) for tensor in layout.tensors if tensor.policy != wire.Policy.IGNORE]
    return to_messages(declared, indices)
