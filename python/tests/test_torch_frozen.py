"""Writes into tensors that were sent once are found, also those that torch does not count."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from torch import nn  # noqa: E402

from shadowkeep import Client  # noqa: E402
from shadowkeep.torch import EMA, digests  # noqa: E402
from shadowkeep.torch.digests import Digests  # noqa: E402


def make() -> Any:
    torch.manual_seed(7)
    model = nn.ModuleDict({"student": nn.Linear(2, 2), "teacher": nn.Linear(30, 20)})
    model["teacher"].requires_grad_(False)
    return model


def move(model: Any) -> None:
    for parameter in model["teacher"].parameters():
        parameter.data.mul_(0.5).add_(1)


def one_element(model: Any) -> None:
    model["teacher"].weight.data[17, 3] += 1


def by_numpy(model: Any) -> None:
    model["teacher"].bias.detach().numpy()[5] = 9


def swapped_rows(model: Any) -> None:
    model["teacher"].weight.data[[0, 1]] = model["teacher"].weight.data[[1, 0]]


def negative_zero(model: Any) -> None:
    model["teacher"].bias.data[0] = -model["teacher"].bias.data[0]


WRITES = [move, one_element, by_numpy, swapped_rows, negative_zero]


@pytest.mark.parametrize("write", WRITES)
def test_a_write_is_found_by_one_of_the_next_updates(client: Client, run_name: str, write: Any) -> None:
    model = make()
    ema = EMA(model, client, run=run_name, decay=0.0)
    ema.register()
    assert ema.update()
    ema.flush()
    write(model)
    # The sender's thread looks after the first, and the second finds it.
    ema.update()
    ema.flush()
    ema._registered()._sender.wait_idle()
    with pytest.raises(RuntimeError, match=r"frozen tensor 'teacher\.(weight|bias)' is not what run"):
        ema.update()
    ema.abandon()


@pytest.mark.parametrize("write", WRITES)
def test_a_write_after_the_last_update_is_found_at_the_end(client: Client, run_name: str, write: Any) -> None:
    model = make()
    ema = EMA(model, client, run=run_name, decay=0.0)
    ema.register()
    ema.update()
    ema.flush()
    write(model)
    with pytest.raises(RuntimeError, match=r"frozen tensor 'teacher\.(weight|bias)' is not what run"):
        ema.close()
    # What was pushed is there, all the same.
    assert client.get_run(run_name).committed_step == 1


@pytest.mark.parametrize("frozen", ["copy", "average"])
def test_a_teacher_that_is_moved_is_sent_with_each_step(client: Client, run_name: str, frozen: Any) -> None:
    model = make()
    with EMA(model, client, run=run_name, decay=0.0, frozen=frozen) as ema:
        ema.register()
        for _ in range(3):
            move(model)
            assert ema.update()
        ema.flush()
        shadow = client.get_shadow(run_name)
        assert (shadow.tensors["teacher.weight"] == model["teacher"].weight.numpy()).all()


def test_what_is_changed_for_an_evaluation_only_is_no_write(client: Client, run_name: str) -> None:
    model = make()
    with EMA(model, client, run=run_name, decay=0.0) as ema:
        ema.register()
        for _ in range(5):
            assert ema.update()
            kept = model["teacher"].weight.data.clone()
            model["teacher"].weight.data.zero_()
            ema.flush()
            model["teacher"].weight.data.copy_(kept)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "complex64", "float8_e4m3fn"])
def test_frozen_tensors_of_each_kind(client: Client, run_name: str, dtype: str) -> None:
    model = nn.Linear(2, 2)
    model.kept = nn.Parameter(torch.ones(3, 4).to(getattr(torch, dtype)).t(), requires_grad=False)
    ema = EMA(model, client, run=run_name)
    ema.register()
    ema.update()
    ema.flush()
    model.kept.data.copy_(torch.zeros(4, 3).to(model.kept.dtype))
    with pytest.raises(RuntimeError, match="frozen tensor 'kept'"):
        ema.close()


def test_each_unit_is_looked_at_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "UNIT_BYTES", 64)
    monkeypatch.setattr(digests, "STEP_BYTES", 160)
    pieces = [
        torch.arange(100, dtype=torch.uint8),
        torch.arange(40.0).reshape(5, 8).t(),
        torch.zeros(0),
        torch.zeros(3),
    ]
    found = Digests(pieces)
    turns = [found.due() for _ in range(4)]
    # Two of 64 and 36 bytes, one of 160 that is not contiguous, one of 12.
    assert turns == [[0, 1], [2], [3, 0, 1], [2]]
    assert [found.of_piece(piece) for piece in range(4)] == [[0, 1], [2], [], [3]]
    assert not any(found.differs(unit, pieces[found.piece_of(unit)]) for unit in range(4))
    pieces[0][70] += 1
    pieces[1][7, 4] += 1
    assert [found.differs(unit, pieces[found.piece_of(unit)]) for unit in range(4)] == [False, True, True, False]


def test_without_frozen_tensors_nothing_is_due() -> None:
    assert Digests([]).due() == []
