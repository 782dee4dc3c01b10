"""What a broken stream is followed by, and when. The Node.js client runs the cases of the file, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shadowkeep import wire
from shadowkeep.backoff import PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX, Backoff, is_disconnect
from shadowkeep.checksums import find_checksum
from shadowkeep.errors import ShadowkeepError
from shadowkeep.resume_steps import is_further, resume_steps
from shadowkeep.tail import TAIL_BYTES, SentMessage, Tail

_CASES = json.loads((Path(__file__).parents[2] / "test" / "common" / "reconnect.json").read_text())
# Of a step of the file's cases.
_BYTES = 256
_CHUNK_BYTES = 64


@pytest.mark.parametrize("case", _CASES["failures"], ids=lambda case: f"{case['code']} {case.get('reason', '')}")
def test_after_which_failures_a_stream_is_opened_again(case: dict[str, Any]) -> None:
    failure = ShadowkeepError(case["message"], code=case["code"], reason=case.get("reason"))
    assert is_disconnect(failure) is case["again"]


def _messages(step: int) -> list[SentMessage]:
    chunks = [
        SentMessage(step, offset, wire.chunk_message(step, offset, [bytes(_CHUNK_BYTES)], _CHUNK_BYTES, None))
        for offset in range(0, _BYTES, _CHUNK_BYTES)
    ]
    commit = wire.UpdateRequest(commit=wire.Commit(step, _BYTES)).encode()
    return [*chunks, SentMessage(step, _BYTES, commit)]


def _first_offset(message: bytes) -> tuple[int, int]:
    request = wire.UpdateRequest.decode(message)
    if request.chunk is not None:
        return request.chunk.step, request.chunk.offset
    assert request.commit is not None
    return request.commit.step, _BYTES


@pytest.mark.parametrize("case", _CASES["standings"], ids=lambda case: case["name"])
def test_what_becomes_of_the_steps_that_were_sent(case: dict[str, Any]) -> None:
    opened = wire.UpdateOpened(**case["opened"])
    tail = Tail()
    for step in case["sent"]:
        if step not in case.get("gone", []):
            for message in _messages(step):
                tail.add(message)
    pending = [wire.Commit(step, _BYTES) for step in case["sent"]]
    stands = resume_steps(opened, pending, tail)
    assert (None if stands.lost is None else stands.lost.step) == case.get("lost")
    if stands.lost is not None:
        return
    resent: dict[str, int] = {}
    for sent in stands.messages:
        step, offset = _first_offset(sent)
        resent.setdefault(str(step), offset)
    assert resent == case.get("resent", {})
    waiting = [commit.step for commit in stands.pending]
    assert [step for step in waiting if str(step) not in resent] == case.get("held", [])
    assert [step for step in case["sent"] if step not in waiting] == case.get("acknowledged", [])


@pytest.mark.parametrize("index", range(len(_CASES["places"])))
def test_which_place_is_further_than_another(index: int) -> None:
    place = wire.UpdateOpened(**_CASES["places"][index])
    found = [is_further(place, wire.UpdateOpened(**before)) for before in _CASES["places"]]
    assert found == [True] * index + [False] * (len(_CASES["places"]) - index)


def commits(*steps: int) -> list[wire.Commit]:
    return [wire.Commit(step, 128) for step in steps]


def tail_of(*sent: tuple[int, int]) -> Tail:
    tail = Tail()
    for step, offset in sent:
        tail.add(SentMessage(step, offset, f"{step}@{offset}".encode()))
    return tail


FIVE = [(5, 0), (5, 64), (5, 128)]


@pytest.mark.parametrize(
    ("opened", "kept", "messages", "lost"),
    [
        (wire.UpdateOpened(committed_step=6), [], [], None),
        (wire.UpdateOpened(committed_step=4), [5, 6], [b"5@0", b"5@64", b"5@128", b"6@0", b"6@128"], None),
        (wire.UpdateOpened(step=5, received_bytes=64), [5, 6], [b"5@64", b"5@128", b"6@0", b"6@128"], None),
        (wire.UpdateOpened(step=5, received_bytes=128), [5, 6], [b"5@128", b"6@0", b"6@128"], None),
        (wire.UpdateOpened(step=5, received_bytes=128, whole=True), [5, 6], [b"6@0", b"6@128"], None),
        (wire.UpdateOpened(step=6, received_bytes=128, whole=True), [5, 6], [], None),
        (wire.UpdateOpened(committed_step=4, step=6, received_bytes=128), [5, 6], [b"6@128"], None),
    ],
)
def test_what_was_pushed_before(
    opened: wire.UpdateOpened, kept: list[int], messages: list[bytes], lost: int | None
) -> None:
    found = resume_steps(opened, commits(5, 6), tail_of(*FIVE, (6, 0), (6, 128)))
    assert ([commit.step for commit in found.pending], found.messages) == (kept, messages)
    assert (found.lost, found.offset) == (lost, None)


def test_a_step_that_the_tail_has_not_is_lost() -> None:
    found = resume_steps(
        wire.UpdateOpened(committed_step=4), commits(5, 6), tail_of((5, 64), (5, 128), (6, 0), (6, 128))
    )
    assert found.lost == commits(5)[0]


@pytest.mark.parametrize(
    ("opened", "pending", "offset"),
    [
        (wire.UpdateOpened(), [], 0),
        (wire.UpdateOpened(committed_step=4), [], 0),
        (wire.UpdateOpened(committed_step=5), [], None),
        (wire.UpdateOpened(step=5, received_bytes=48), [], 48),
        (wire.UpdateOpened(step=5, received_bytes=128, whole=True), [5], None),
    ],
)
def test_the_step_that_is_being_pushed(opened: wire.UpdateOpened, pending: list[int], offset: int | None) -> None:
    (current,) = commits(5)
    for queued in ([], [current]):
        found = resume_steps(opened, queued, Tail(), current)
        assert ([commit.step for commit in found.pending], found.offset, found.lost) == (pending, offset, None)


@pytest.mark.parametrize("checksum", [None, find_checksum(True)], ids=["plain", "crc"])
def test_a_chunk_of_which_a_part_has_arrived_is_cut(checksum: Any) -> None:
    tail = Tail()
    data = bytes(range(64))
    for offset in (0, 32):
        message = wire.chunk_message(7, offset, [data[offset : offset + 32]], 32, checksum)
        tail.add(SentMessage(7, offset, message))
    tail.add(SentMessage(7, 64, b"commit"))
    cut, *others = tail.rest(7, 16, checksum) or []
    assert cut == wire.chunk_message(7, 16, [data[16:32]], 16, checksum)
    assert others == tail.rest(7, 32, checksum)
    assert tail.rest(7, 48, checksum) == [wire.chunk_message(7, 48, [data[48:]], 16, checksum), b"commit"]


def test_the_tail_is_bounded_and_lets_go() -> None:
    tail = Tail()
    message = bytes(TAIL_BYTES // 4)
    for number in range(6):
        tail.add(SentMessage(7, number, message))
    assert tail.rest(7, 1) is None
    assert tail.rest(7, 2) == [message] * 4
    tail.add(SentMessage(8, 0, b""))
    tail.settle(7)
    assert (tail.rest(7, 5), tail.rest(8, 0)) == (None, [b""])
    tail.forget(8)
    assert tail.rest(8, 0) is None


def test_pauses_grow_and_end() -> None:
    backoff = Backoff(1000)
    pauses = [backoff.next_pause() for _ in range(2000)]
    assert all(pause is not None and 0 <= pause <= PAUSE_SECONDS_MAX for pause in pauses)
    assert pauses[0] is not None
    assert pauses[0] <= PAUSE_SECONDS_FIRST
    assert Backoff(0).next_pause() is None


def test_what_is_outlasted_has_no_end_until_something_is_achieved() -> None:
    backoff = Backoff(0)
    backoff.outlast()
    assert all(backoff.next_pause() is not None for _ in range(100))
    backoff.reset()
    assert backoff.next_pause() is None
