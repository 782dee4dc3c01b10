"""Tensors of other kinds than dense real ones: supported, or refused by name with what to do."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from shadowkeep import Client  # noqa: E402
from shadowkeep.torch import EMA, load_shadow, shadow_tensors  # noqa: E402


def quantized() -> Any:
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


def nested() -> Any:
    return torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])


def fake() -> Any:
    with FakeTensorMode():
        return torch.ones(3)


BUFFERS: dict[str, Any] = {
    "has layout torch.sparse_coo": lambda: torch.eye(3).to_sparse(),
    "has layout torch.sparse_csr": lambda: torch.eye(3).to_sparse_csr(),
    "is quantized": quantized,
    "is a nested tensor": nested,
    "is on the meta device": lambda: torch.ones(3, device="meta"),
    "is of class FakeTensor": fake,
    "has dtype torch.float8_e4m3fnuz": lambda: torch.ones(3).to(torch.float8_e4m3fnuz),
    "is a conjugated view": lambda: torch.ones(3, dtype=torch.complex64).conj(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("problem", BUFFERS)
def test_what_cannot_be_sent_is_named_and_may_be_left_out(client: Client, run_name: str, problem: str) -> None:
    def model() -> Any:
        made = nn.Linear(2, 2)
        made.register_buffer("odd", BUFFERS[problem]())
        return made

    with pytest.raises(
        TypeError, match=rf"'odd' .*{problem[3:]}.*policies=\{{\"odd\": \"IGNORE\"\}}.*buffers=\"ignore\""
    ):
        EMA(model(), client, run=run_name).register()
    for number, options in enumerate(({"buffers": "ignore"}, {"policies": {"odd": "IGNORE"}})):
        chosen: Any = options
        name = f"{run_name}-{number}"
        trained = model()
        with EMA(trained, client, run=name, decay=0.0, **chosen) as ema, torch.no_grad():
            ema.register()
            trained.weight.fill_(3)
            assert ema.update()
            with ema.average_parameters():
                assert (trained.weight == 3).all()
            with EMA(model(), client, run=name, replica=True) as replica, replica.average_parameters():
                pass
        evaluated = model()
        load_shadow(client.get_shadow(name), evaluated)
        assert (evaluated.weight == 3).all()


@pytest.mark.parametrize(
    ("parameter", "problem"),
    [
        (lambda: nn.Parameter(torch.ones(2, device="meta")), "has no values, .*to_empty|materialise"),
        (nn.UninitializedParameter, "has no shape yet: run the model once"),
        (lambda: nn.Parameter(torch.ones(2).to(torch.float8_e4m3fn)), 'cannot be averaged: .*weights=.*"COPY"'),
        (lambda: nn.Parameter(torch.ones(2).to(torch.float8_e8m0fnu)), "cannot be sent: convert it"),
    ],
)
def test_parameters_that_cannot_be_averaged(client: Client, run_name: str, parameter: Any, problem: str) -> None:
    model = nn.Linear(2, 2)
    model.odd = parameter()
    with pytest.raises(TypeError, match=f"'odd' .*{problem}"):
        EMA(model, client, run=run_name).register()
    with EMA(model, client, run=run_name, policies={"odd": "IGNORE"}) as ema:
        ema.register()
        assert ema.update()


def test_float8_is_copied_where_it_is_asked_for(client: Client, run_name: str) -> None:
    model = nn.Linear(2, 2)
    model.odd = nn.Parameter(torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn), requires_grad=False)
    with EMA(model, client, run=run_name, policies={"odd": "COPY"}) as ema:
        ema.register()
        with ema.average_parameters():
            assert model.odd.float().tolist() == [1.5, -2.0]
    assert shadow_tensors(client.get_shadow(run_name))["odd"].float().tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex32"])
def test_complex_tensors_are_averaged_as_pairs(client: Client, run_name: str, dtype: str) -> None:
    kind = getattr(torch, dtype)

    def make() -> Any:
        model = nn.Linear(2, 2)
        model.spectral = nn.Parameter(torch.ones(3, 4).to(kind).t())
        model.register_buffer("phase", torch.full((2,), 1j).to(kind))
        model.register_buffer("scalar", torch.tensor(1j).to(kind))
        return model

    model = make()
    with EMA(model, client, run=run_name, decay=0.5, buffers="average") as ema, torch.no_grad():
        ema.register()
        raw = torch.full((4, 3), 3 + 2j).to(kind)
        model.spectral.copy_(raw)
        model.phase.copy_(torch.zeros(2).to(kind))
        ema.update()
        with ema.average_parameters():
            assert model.spectral.dtype == kind
            assert (torch.view_as_real(model.spectral) == torch.tensor([2.0, 1.0])).all()
            assert torch.view_as_real(model.phase).tolist() == [[0, 0.5]] * 2
        assert torch.equal(torch.view_as_real(model.spectral), torch.view_as_real(raw))
        evaluated = make()
        load_shadow(client.get_shadow(run_name), evaluated)
        assert (torch.view_as_real(evaluated.spectral) == torch.tensor([2.0, 1.0])).all()
    read = shadow_tensors(client.get_shadow(run_name))["spectral"]
    assert torch.view_as_complex(read.float()).shape == (4, 3)


def test_master_weights_of_complex_parameters(client: Client, run_name: str) -> None:
    model = nn.Linear(2, 2)
    model.spectral = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    master = torch.full((3,), 2 - 2j, dtype=torch.complex128)
    with EMA(model, client, run=run_name, decay=0.5, weights={"spectral": master}) as ema:
        ema.register()
        master.fill_(4)
        ema.update()
        with ema.average_parameters():
            assert model.spectral.tolist() == [3 - 1j] * 3


def scripted() -> Any:
    return torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def scripted_part() -> Any:
    return nn.Sequential(torch.jit.script(nn.Linear(2, 2)), nn.BatchNorm1d(2))


def traced() -> Any:
    return torch.jit.trace(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), torch.ones(3, 2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [scripted, scripted_part, traced])
def test_torchscript(client: Client, run_name: str, make: Any) -> None:
    model = make()
    with EMA(model, client, run=run_name, decay=0.0) as ema, torch.no_grad():
        ema.register()
        for parameter in model.parameters():
            parameter.fill_(3)
        assert ema.update()
        for parameter in model.parameters():
            parameter.fill_(4)
        with ema.average_parameters():
            assert {float(parameter.mean()) for parameter in model.parameters()} == {3.0}
            inner = next(iter(model.children()))
            inner.weight = nn.Parameter(torch.zeros(2, 2))
        assert {float(parameter.mean()) for parameter in model.parameters()} == {4.0}
        assert ema.update()
    plain = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    load_shadow(client.get_shadow(run_name, min_step=2), plain)
    assert {float(parameter.mean()) for parameter in plain.parameters()} == {4.0}


def test_policies_of_tied_tensors_go_by_the_first_name(client: Client, run_name: str) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False), "c": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    with pytest.raises(ValueError, match=r"'b\.\*' matches no tensor of the model but 'b.weight', which is tied to 'a"):
        EMA(model, client, run=run_name, policies={"b.*": "IGNORE"}).register()
    with EMA(model, client, run=run_name, policies={"a.*": "IGNORE"}) as ema:
        ema.register()
    assert sorted(client.get_shadow(run_name).tensors) == ["c.bias", "c.weight"]


@pytest.mark.parametrize("policy", ["REJECT_STEP", "ACCEPT"])
def test_infinities_at_the_beginning_are_named(client: Client, run_name: str, policy: Any) -> None:
    model: Any = nn.ModuleDict({"table": nn.Linear(2, 2), "other": nn.Linear(2, 2), "mask": nn.Linear(2, 2)})
    with torch.no_grad():
        model["table"].weight[0, 0] = -float("inf")
        model["mask"].bias[1] = float("nan")
    with EMA(model, client, run=run_name, non_finite=policy) as ema:
        if policy == "ACCEPT":
            ema.register()
            return
        with pytest.raises(RuntimeError, match=r"infinities or NaN in 'table.weight', 'mask.bias'.*COPY"):
            ema.register()


def test_weights_beyond_the_wire_dtype_are_named(client: Client, run_name: str) -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.bias.fill_(1e6)
    with EMA(model, client, run=run_name, wire_dtype="F16") as ema, pytest.raises(RuntimeError, match="NaN in 'bias'"):
        ema.register()
