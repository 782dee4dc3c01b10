"""What a writer does on a new stream about the steps that were on their way when the one before broke."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from . import wire
from .tail import Tail


class Standing(NamedTuple):
    """What becomes of the steps that are not acknowledged.

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


def standing(
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
        if commit is current or _is_committed(opened, commit.step):
            continue
        if not _is_whole(opened, commit.step):
            rest = tail.rest(commit.step, _received(opened, commit.step), checksum)
            if rest is None:
                return Standing(kept, messages, commit, None)
            messages += rest
        kept.append(commit)
    if current is None or _is_committed(opened, current.step):
        return Standing(kept, messages, None, None)
    if _is_whole(opened, current.step):
        return Standing([*kept, current], messages, None, None)
    return Standing(kept, messages, None, _received(opened, current.step))


def _received(opened: wire.UpdateOpened, step: int) -> int:
    return opened.received_bytes if opened.step == step else 0


def _is_committed(opened: wire.UpdateOpened, step: int) -> bool:
    return opened.committed_step is not None and step <= opened.committed_step


def _is_whole(opened: wire.UpdateOpened, step: int) -> bool:
    """Whether the service has the step with its commit; it names the newest one, those before it are whole."""
    return opened.step is not None and (step < opened.step or (step == opened.step and opened.whole))
