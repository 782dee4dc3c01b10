"""What a writer does on a new stream about the steps that were under way when the one before broke.

The cases are test/common/reconnect.json, which the Node.js client runs, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from . import wire
from .errors import FailedPreconditionError
from .tail import Tail


class Standing(NamedTuple):
    """Where the writer stands: what becomes of the steps that are not acknowledged.

    Attributes:
        pending: those whose acknowledgements will come.
        messages: what is to be sent of them before anything else.
        lost: the first one of which the service lacks bytes that are not at hand any more; None: there is none.
        offset: from which byte on the step that is being pushed is to be sent; None: it is not to be sent.
    """

    pending: list[wire.Commit]
    messages: list[bytes]
    lost: wire.Commit | None
    offset: int | None


def resume_steps(
    opened: wire.UpdateOpened,
    pending: Iterable[wire.Commit],
    tail: Tail,
    current: wire.Commit | None = None,
    checksum: wire.Checksum | None = None,
) -> Standing:
    """Compare what was sent with what the service says that it has.

    Args:
        opened: its answer to the new stream's opening.
        pending: commits that were queued and are not acknowledged.
        tail: the newest messages of those steps.
        current: the step that is being pushed, which can be sent again; it may be the last of `pending`.
        checksum: crc32c of a chunk of which the service has a part; None: it has none.
    """
    kept: list[wire.Commit] = []
    messages: list[bytes] = []
    for commit in pending:
        if commit is current or _is_committed(commit.step, opened):
            continue
        if not _is_held(commit.step, opened):
            rest = tail.rest(commit.step, _received_bytes(commit.step, opened), checksum)
            if rest is None:
                return Standing(kept, messages, commit, None)
            messages += rest
        kept.append(commit)
    if current is None or _is_committed(current.step, opened):
        return Standing(kept, messages, None, None)
    if _is_held(current.step, opened):
        return Standing([*kept, current], messages, None, None)
    return Standing(kept, messages, None, _received_bytes(current.step, opened))


def check_resumed(run: str, before: wire.UpdateOpened, opened: wire.UpdateOpened) -> None:
    """Raise FailedPreconditionError where the writer's part is another one than it was."""
    then, now = [(answer.step_bytes, answer.first_step_bytes, answer.left_out) for answer in (before, opened)]
    if then != now:
        raise FailedPreconditionError(
            f"the writer's part of run {run!r} had {then[0]} bytes, it has {now[0]} now", reason="BOXES_CHANGED"
        )


def has_gone_back(opened: wire.UpdateOpened, committed_step: int) -> bool:
    """Whether a service that was started again has forgotten steps that it had acknowledged."""
    return opened.committed_step is None or opened.committed_step < committed_step


def is_further(opened: wire.UpdateOpened, before: wire.UpdateOpened) -> bool:
    """Whether the service has got on since: coming back again and again is not in vain."""
    return _place(opened) > _place(before)


def _place(opened: wire.UpdateOpened) -> tuple[int, int, bool, int]:
    committed_step, step = [-1 if number is None else number for number in (opened.committed_step, opened.step)]
    # Of a step that is whole no bytes are counted.
    return committed_step, step, opened.whole, opened.received_bytes


def _received_bytes(step: int, opened: wire.UpdateOpened) -> int:
    return opened.received_bytes if opened.step == step else 0


def _is_committed(step: int, opened: wire.UpdateOpened) -> bool:
    return opened.committed_step is not None and step <= opened.committed_step


def _is_held(step: int, opened: wire.UpdateOpened) -> bool:
    """Whether all of it has arrived: the writer stands in a later step, or waits for the ack of this one."""
    return opened.step is not None and (step < opened.step or (step == opened.step and opened.whole))
