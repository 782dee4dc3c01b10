"""What a broken stream is followed by: the Node.js client runs the same cases. A step has 256 bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shadowkeep import wire
from shadowkeep.backoff import is_disconnect
from shadowkeep.errors import ShadowkeepError
from shadowkeep.resume_steps import is_further, resume_steps
from shadowkeep.tail import SentMessage, Tail

_CASES = json.loads((Path(__file__).parents[2] / "test" / "common" / "reconnect.json").read_text())
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


_PLACES: list[dict[str, Any]] = [
    {},
    {"step": 1, "received_bytes": 64},
    {"step": 1, "received_bytes": 128},
    {"step": 1, "whole": True},
    {"step": 2, "received_bytes": 64},
    {"committed_step": 1},
    {"committed_step": 1, "step": 2, "received_bytes": 64},
    {"committed_step": 2},
]


@pytest.mark.parametrize("index", range(len(_PLACES)))
def test_which_place_is_further_than_another(index: int) -> None:
    place = wire.UpdateOpened(**_PLACES[index])
    found = [is_further(place, wire.UpdateOpened(**before)) for before in _PLACES]
    assert found == [True] * index + [False] * (len(_PLACES) - index)
