"""What is pushed: frozen parameters, and weights that are not the model's, on the real server."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from shadowkeep import Client, FailedPreconditionError  # noqa: E402
from shadowkeep.torch import EMA  # noqa: E402

SEED = 5


def make_model() -> Any:
    """A large frozen layer below a small one that is trained."""
    torch.manual_seed(SEED)
    model = torch.nn.Sequential(torch.nn.Linear(50, 40), torch.nn.Linear(40, 3))
    model[0].requires_grad_(False)
    return model


def make_normed() -> Any:
    layers = [torch.nn.Linear(20, 40), torch.nn.BatchNorm1d(40), torch.nn.ReLU(), torch.nn.Linear(40, 3)]
    return torch.nn.Sequential(*layers)


def add(parameter: Any, value: float) -> None:
    with torch.no_grad():
        parameter.add_(value)


def received(client: Client, run_name: str) -> int:
    return client.get_run(run_name).bytes_received


def test_frozen_parameters_travel_once(client: Client, run_name: str) -> None:
    model = make_model()
    frozen_bytes, trained_bytes = 4 * (50 * 40 + 40), 4 * (40 * 3 + 3)
    with EMA(model, client, run=run_name, decay=0.5) as ema:
        ema.register()
        first = received(client, run_name)
        assert first >= frozen_bytes + trained_bytes
        before = model[1].weight.detach().clone()
        add(model[1].weight, 1)
        for _ in range(4):
            ema.update()
        ema.flush()
        assert received(client, run_name) - first <= 4 * (trained_bytes + 2 * 64)
        with ema.average_parameters():
            assert torch.allclose(model[1].weight, before + 15 / 16)
    shadow = client.get_shadow(run_name)
    assert (shadow.tensors["0.weight"] == model[0].weight.numpy()).all()
    assert {spec.name: spec.averaged for spec in shadow.specs}["0.weight"] is False


def test_applying_does_not_read_what_is_frozen(client: Client, run_name: str) -> None:
    model = make_model()
    with EMA(model, client, run=run_name) as ema:
        ema.register()
        ema.update()
        with ema.average_parameters():
            pass
        assert client.get_run(run_name).bytes_sent < 4 * 50 * 40
        with ema.average_parameters(client.get_run(run_name).averages[0].name):
            pass
        assert client.get_run(run_name).bytes_sent < 4 * 50 * 40


def test_training_a_frozen_parameter_is_an_error(client: Client, run_name: str) -> None:
    model = make_model()
    ema = EMA(model, client, run=run_name)
    ema.register()
    ema.update()
    model[0].bias.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"parameter '0\.bias' was frozen"):
        ema.update()
    model[0].bias.requires_grad_(False)
    ema.update()
    ema.close()


def write_in_place(model: Any) -> None:
    add(model[0].weight, 1)


def replace_data(model: Any) -> None:
    model[0].weight.data = model[0].weight.data + 1


def replace_parameter(model: Any) -> None:
    model[0].weight = torch.nn.Parameter(model[0].weight.detach() + 1, requires_grad=False)


@pytest.mark.parametrize("write", [write_in_place, replace_data, replace_parameter])
def test_a_frozen_parameter_that_was_written_is_an_error(client: Client, run_name: str, write: Any) -> None:
    model = make_model()
    ema = EMA(model, client, run=run_name)
    ema.register()
    ema.update()
    write(model)
    with pytest.raises(RuntimeError, match=r"frozen tensor '0\.weight' is not what run"):
        ema.update()
    ema.abandon()


@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_writing_what_was_there_is_none(
    client: Client, run_name: str, batch_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shadowkeep.torch.frozen.BATCH_BYTES", batch_bytes)
    model = make_model()
    with EMA(model, client, run=run_name) as ema:
        ema.register()
        model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
        assert ema.update()
        assert ema.update()


def test_a_resumed_trainer_has_the_same_frozen_parameters(client: Client, run_name: str) -> None:
    model = make_model()
    with EMA(model, client, run=run_name) as ema:
        ema.register()
        ema.update()
    with EMA(model, client, run=run_name) as resumed:
        resumed.register(1)
        assert resumed.update()
    add(model[0].bias, 1)
    other = EMA(model, client, run=run_name)
    with pytest.raises(RuntimeError, match=r"frozen tensor '0\.bias'"):
        other.register(2)
    with pytest.raises(RuntimeError, match="register"):
        other.update()


@pytest.mark.parametrize(("frozen", "expected"), [("average", 4.0), ("copy", 8.0)])
def test_frozen_parameters_averaged_or_copied(client: Client, run_name: str, frozen: Any, expected: float) -> None:
    model = make_model()
    with EMA(model, client, run=run_name, decay=0.5, frozen=frozen) as ema, torch.no_grad():
        model[0].weight.fill_(0)
        ema.register()
        model[0].weight.fill_(8)
        model[0].requires_grad_(True)
        ema.update()
        with ema.average_parameters():
            assert (model[0].weight == expected).all()


def test_a_model_without_anything_to_average(client: Client, run_name: str) -> None:
    model = make_model().requires_grad_(False)
    with pytest.raises(ValueError, match="nothing would be averaged"):
        EMA(model, client, run=run_name).register()
    with EMA(model, client, run=run_name, frozen="average") as ema:
        ema.register()
        ema.update()


@pytest.mark.parametrize("as_callable", [True, False])
def test_master_weights_of_a_bf16_model(client: Client, run_name: str, as_callable: bool) -> None:
    torch.manual_seed(SEED)
    model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 3)).bfloat16()
    masters = {name: p.detach().float().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(masters.values(), lr=1e-3)
    decay, steps = 0.9, 30
    expected = {name: master.double() for name, master in masters.items()}
    weights: Any = (lambda: masters) if as_callable else masters
    with EMA(model, client, run=run_name, decay=decay, weights=weights) as ema:
        ema.register()
        for _ in range(steps):
            model.zero_grad()
            model(torch.randn(16, 20).bfloat16()).square().mean().backward()
            for name, parameter in model.named_parameters():
                masters[name].grad = parameter.grad.float()
            optimizer.step()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(masters[name])
            expected = {name: decay * e + (1 - decay) * masters[name].double() for name, e in expected.items()}
            ema.update()
        trained = {name: p.detach().clone() for name, p in model.named_parameters()}
        with ema.average_parameters():
            pulled = client.get_shadow(run_name)
            for name, parameter in model.named_parameters():
                average = torch.from_numpy(pulled.tensors[name])
                assert average.dtype == torch.float32
                assert torch.allclose(average.double(), expected[name], rtol=2e-6, atol=1e-7)
                assert torch.equal(parameter, average.bfloat16())
                # The steps are smaller than the model's dtype resolves: its own average would be another.
                assert not torch.equal(average, average.bfloat16().float())
        assert all(torch.equal(parameter, trained[name]) for name, parameter in model.named_parameters())


def test_weights_count_as_trained_and_the_others_are_the_models(client: Client, run_name: str) -> None:
    model = make_model()
    master = torch.zeros(40)
    wrapped = torch.nn.DataParallel(model)
    with EMA(wrapped, client, run=run_name, decay=0.5, weights={"module.0.bias": master}) as ema:
        ema.register()
        master.fill_(4)
        ema.update()
        with ema.average_parameters():
            assert (model[0].bias == 2).all()
        shadow = client.get_shadow(run_name)
        assert (shadow.tensors["1.bias"] == model[1].bias.detach().numpy()).all()


def test_weights_that_do_not_fit(client: Client, run_name: str) -> None:
    model = make_model()
    with pytest.raises(ValueError, match=r"'2\.bias', which the model does not have"):
        EMA(model, client, run=run_name, weights={"2.bias": torch.zeros(3)}).register()
    with pytest.raises(ValueError, match=r"'1\.bias' of shape \[4\], \[3\] in the model"):
        EMA(model, client, run=run_name, weights={"1.bias": torch.zeros(4)}).register()
    given = {"1.bias": torch.zeros(3)}
    ema = EMA(model, client, run=run_name, weights=lambda: given)
    ema.register()
    del given["1.bias"]
    with pytest.raises(RuntimeError, match=r"gave tensor '1\.bias'"):
        ema.update()
    given["1.bias"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r"'1\.bias' has shape \[1\]"):
        ema.update()
    ema.abandon()


def test_another_choice_for_frozen_tensors_is_another_layout(client: Client, run_name: str) -> None:
    with EMA(make_model(), client, run=run_name) as ema:
        ema.register()
    with pytest.raises(FailedPreconditionError, match=r"0\.weight"):
        EMA(make_model(), client, run=run_name, frozen="average").register()


def test_policies_by_name_stand_above_the_others(client: Client, run_name: str) -> None:
    model = make_normed()
    policies: Any = {"1.*": "IGNORE", "*.running_mean": "AVERAGE", "*.bias": "COPY"}
    with EMA(model, client, run=run_name, decay=0.5, buffers="ignore", policies=policies) as ema, torch.no_grad():
        ema.register()
        for tensor in (model[0].bias, model[1].weight, model[1].running_mean, model[1].running_var):
            tensor.fill_(8)
        ema.update()
        model[1].running_var.fill_(7)
        with ema.average_parameters():
            assert (model[0].bias == 8).all()
            assert (model[1].weight == 8).all()
            assert (model[1].running_mean == 4).all()
            assert (model[1].running_var == 7).all()
    sent = [spec.name for spec in client.get_shadow(run_name).specs]
    assert sent == ["0.weight", "0.bias", "1.bias", "3.weight", "3.bias", "1.running_mean"]


@pytest.mark.parametrize(
    ("policies", "problem"),
    [
        ({"2.*": "COPY"}, r"'2\.\*' matches no tensor"),
        ({"*.num_batches_tracked": "AVERAGE"}, r"torch\.int64 cannot be averaged"),
        ({"0.weight": "COPY_ONCE"}, r"'0\.weight' is trained"),
    ],
)
def test_policies_that_cannot_be(client: Client, run_name: str, policies: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        EMA(make_normed(), client, run=run_name, policies=policies).register()
