"""What a training script has switched on around the calls has no part in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from shadowkeep import Client  # noqa: E402
from shadowkeep.torch import EMA, load_shadow, shadow_tensors  # noqa: E402


class Doubling(TorchFunctionMode):
    """Spoils what is made and copied."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        named = getattr(function, "__name__", "")
        return made.double() if named in ("zeros", "empty", "clone", "from_numpy", "view") else made


class Refusing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what allocates or copies."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(part in str(function) for part in ("copy", "zeros", "empty", "clone")):
            raise AssertionError(f"{function} was called")
        return function(*args, **(kwargs or {}))


@contextmanager
def default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


AMBIENT: dict[str, Any] = {
    "default device": default_device,
    "device context": lambda: torch.device("meta"),
    "default dtype": default_dtype,
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": deterministic,
    "function mode": Doubling,
    "dispatch mode": Refusing,
    "fake tensors": FakeTensorMode,
    "nothing": nullcontext,
}
# Where the calls stand; the rest is outside.
PLACES = ("register", "update", "apply", "restore", "read")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x: Any) -> Any:
        return self.frozen(self.norm(self.layer(x)))


@pytest.mark.parametrize("place", [*PLACES, "everywhere"])
@pytest.mark.parametrize("name", AMBIENT)
def test_modes_and_defaults_do_not_leak(client: Client, run_name: str, name: str, place: str) -> None:
    def around(here: str) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = AMBIENT[name]() if place in (here, "everywhere") else nullcontext()
        return context

    # Batch normalization of some few samples leaves no gradient.
    torch.manual_seed(0)
    model, evaluated = Model(), Model()
    optimizer = torch.optim.SGD([*model.layer.parameters(), *model.norm.parameters()], lr=0.1)
    ema = EMA(model, client, run=run_name, decay=0.5)
    with around("register"):
        ema.register()
    before = model.layer.weight.detach().clone()
    with torch.no_grad():
        model.layer.weight.add_(2)
    for _ in range(2):
        with around("update"):
            assert ema.update()
    raw = model.layer.weight.detach().clone()
    with around("apply"):
        ema.apply_shadow()
    assert torch.allclose(model.layer.weight, before + 1.5)
    with around("restore"):
        ema.restore()
    assert torch.equal(model.layer.weight, raw)
    with around("read"):
        shadow = client.get_shadow(run_name)
        load_shadow(shadow, evaluated)
        assert shadow_tensors(shadow)["layer.weight"].dtype == torch.float32
    assert torch.allclose(evaluated.layer.weight, before + 1.5)
    for trained in (model, evaluated):
        assert not any(tensor.is_inference() for tensor in (*trained.parameters(), *trained.buffers()))
    model(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.layer.weight, raw)
    assert ema.update()
    ema.close()
