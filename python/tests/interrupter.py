"""Exceptions at a chosen place of a call, as a signal handler raises them (Ctrl-C)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupted(call: Callable[[], object], at: int, places: tuple[str, ...], events: tuple[str, ...]) -> bool:
    """Raise Interrupt at the `at`-th place of `call` where Python looks for signals; False when it has fewer.

    Args:
        call: what is interrupted.
        at: from 1 on.
        places: parts of the names of the files whose code counts.
        events: those of `sys.setprofile` that count.
    """
    seen = 0
    raised = False

    def trace(frame: FrameType, event: str, arg: object) -> None:
        nonlocal seen, raised
        if event in events and any(place in frame.f_code.co_filename for place in places):
            seen += 1
            if seen == at:
                raised = True
                sys.setprofile(None)
                raise Interrupt

    sys.setprofile(trace)
    try:
        call()
    except Interrupt:
        pass
    finally:
        sys.setprofile(None)
    # Where Python finalizes a generator the exception goes no further: what was raised counts, not what came out.
    return raised
