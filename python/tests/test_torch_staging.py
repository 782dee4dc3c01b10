"""The way from a device to the host, on the one device that every machine has."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from shadowkeep.boxes import Part  # noqa: E402
from shadowkeep.layout import Layout, TensorSpec  # noqa: E402
from shadowkeep.torch.share import Share  # noqa: E402
from shadowkeep.torch.snapshot import Snapshot, whole_step  # noqa: E402
from shadowkeep.torch.staging import StagedCopy  # noqa: E402
from shadowkeep.torch.weights import PushedTensors  # noqa: E402
from shadowkeep.torch.world import World  # noqa: E402
from shadowkeep.wire import DType  # noqa: E402

SEED = 11
SIZES = [0, 1, 15, 16, 40, 300, 3, 64, 5]


def make_sources() -> list[Any]:
    torch.manual_seed(SEED)
    return [*(torch.randn(size) for size in SIZES), torch.randn(6, 5).t(), torch.tensor(4.0)]


def expected_bytes(sources: list[Any], dtype: Any) -> bytes:
    out = b""
    for source in sources:
        data = source.to(dtype).contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        out += data + bytes(-len(data) % 64)
    return out


def share_of(model: Any) -> tuple[Share, Part]:
    """Return the only process's share, and its step."""
    pushed = PushedTensors(model, "copy", "once", None)
    layout = Layout(pushed.specs())
    return Share(pushed, layout, World.alone()), Part.whole(layout)


@pytest.mark.parametrize("batch_bytes", [64, 128, 448, 1 << 20])
@pytest.mark.parametrize("wire", [DType.F32, DType.BF16])
def test_staged_copy_is_the_byte_space(batch_bytes: int, wire: DType) -> None:
    sources = make_sources()
    specs = {f"t{index}": TensorSpec("F32", tuple(source.shape)) for index, source in enumerate(sources)}
    layout = Layout(specs, wire)
    host = torch.full((layout.step_bytes,), 0xFF, dtype=torch.uint8)
    staged = StagedCopy(Part.whole(layout).places, host, torch.device("cpu"), batch_bytes)
    expected = expected_bytes(sources, torch.bfloat16 if wire == DType.BF16 else torch.float32)
    for _ in range(2):
        host.fill_(0xFF)
        staged.copy(sources)
        assert host.numpy().tobytes() == expected


def test_snapshot_on_the_cpu_is_the_byte_space() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3))
    share, part = share_of(model)
    snapshot = Snapshot(share, part)
    snapshot.take()
    snapshot.wait()
    expected = b"".join(expected_bytes([named.tensor.detach()], named.tensor.dtype) for named in share.pushed.tensors)
    assert snapshot.space.tobytes() == expected


def test_tensors_that_are_sent_once_lie_behind_the_others() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Linear(3, 20))
    model[0].requires_grad_(False)
    share, part = share_of(model)
    snapshot = Snapshot(share, part)
    snapshot.take()
    always = b"".join(expected_bytes([parameter.detach()], torch.float32) for parameter in model[1].parameters())
    once = b"".join(expected_bytes([parameter.detach()], torch.float32) for parameter in model[0].parameters())
    assert snapshot.space.tobytes() == always
    assert whole_step(share, part).tobytes() == always + once


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: pinned copies on a side stream are not run")
@pytest.mark.parametrize("with_optimizer", [True, False])
def test_snapshot_on_a_gpu_is_of_the_moment_it_was_taken(with_optimizer: bool) -> None:
    model = torch.nn.Linear(4_000, 4_000, device="cuda")
    share, part = share_of(model)
    snapshot = Snapshot(share, part)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for _ in range(5):
        expected = expected_bytes([parameter.detach().cpu() for parameter in model.parameters()], torch.float32)
        snapshot.take()
        if with_optimizer:
            optimizer.step()
        else:
            with torch.no_grad():
                torch._foreach_add_(list(model.parameters()), 1.0)
        snapshot.wait()
        assert snapshot.space.tobytes() == expected
    snapshot.close()
