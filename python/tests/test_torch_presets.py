"""What becomes of buffers where it is left open: what the peer of a preset does."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the PyTorch adapter is not tested")

from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402

from shadowkeep import Average, Client, averages  # noqa: E402
from shadowkeep.torch import EMA  # noqa: E402


def make() -> Any:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))


def torch_peer(use_buffers: bool) -> Any:
    def peer(model: nn.Module) -> Any:
        average = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
        return AveragedModel(model, multi_avg_fn=average, use_buffers=use_buffers)

    return peer


def update_torch(peer: Any, model: Any, step: int) -> None:
    peer.update_parameters(model)


def timm_peer(exclude_buffers: bool) -> Any:
    utils = pytest.importorskip("timm.utils", reason="timm is not installed: its buffers are not compared")
    return lambda model: utils.ModelEmaV3(model, decay=0.9, exclude_buffers=exclude_buffers)


def update_timm(peer: Any, model: Any, step: int) -> None:
    peer.update(model, step=step)


@pytest.mark.parametrize(
    ("rule", "make_peer", "update"),
    [
        (lambda: averages.torch_ema(decay=0.9), lambda: torch_peer(False), update_torch),
        (lambda: averages.torch_ema(decay=0.9, use_buffers=True), lambda: torch_peer(True), update_torch),
        (lambda: averages.timm_v3(decay=0.9), lambda: timm_peer(False), update_timm),
        (lambda: averages.timm_v3(decay=0.9, exclude_buffers=True), lambda: timm_peer(True), update_timm),
    ],
)
def test_floating_point_buffers_are_the_peers(
    client: Client, run_name: str, rule: Any, make_peer: Any, update: Any
) -> None:
    model = make()
    peer = make_peer()(copy.deepcopy(model))
    with EMA(model, client, run=run_name, averages=rule()) as ema:
        ema.register()
        for step in range(1, 11):
            model(torch.randn(8, 4) * step)
            update(peer, model, step)
            ema.update()
        with ema.average_parameters():
            theirs = peer.module.state_dict()
            for name in ("1.running_mean", "1.running_var"):
                assert torch.allclose(model.state_dict()[name], theirs[name], rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([averages.timm_v3()], 2.0),
        ([averages.timm_v3(), Average.ema("own", decay=0.5)], 2.0),
        ([averages.textbook(decay=0.5)], 8.0),
        ([Average.ema("own", decay=0.5)], 8.0),
    ],
)
def test_left_open_it_is_what_the_presets_say(client: Client, run_name: str, rules: Any, expected: float) -> None:
    model = make()
    own = [Average.ema("probe", decay=0.75, start="INITIAL"), *rules]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ema = EMA(model, client, run=run_name, averages=own)
    with ema:
        ema.register()
        model[1].running_mean.fill_(8)
        ema.update()
        with ema.average_parameters("probe"):
            assert model[1].running_mean.tolist() == [expected] * 4


def test_presets_that_differ_are_said_unless_the_option_is_given(client: Client, run_name: str) -> None:
    rules = [averages.timm_v3(), averages.textbook(decay=0.5)]
    with pytest.warns(RuntimeWarning, match=r"'timm-v3' .* 'textbook' .*buffers=\"copy\" or \"average\""):
        EMA(make(), client, run=run_name, averages=rules)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EMA(make(), client, run=run_name, averages=rules, buffers="average")


def test_nothing_is_said_of_buffers_that_a_model_has_not() -> None:
    rules = [averages.timm_v3(decay=0.9), averages.textbook(decay=0.9)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EMA(nn.Linear(4, 4), "127.0.0.1:50051", run="r", averages=rules).abandon()


@pytest.mark.parametrize("step", [1.5, "1", True, torch.tensor(1.0), torch.tensor([1, 2]), torch.tensor(True)])
def test_steps_that_are_no_integers_are_refused_by_the_call(client: Client, run_name: str, step: Any) -> None:
    with EMA(make(), client, run=run_name) as ema:
        with pytest.raises(TypeError, match="step must be an integer"):
            ema.register(step)
        ema.register()
        with pytest.raises(TypeError, match="step must be an integer"):
            ema.update(step)
        assert ema.step == 0
        assert ema.update(torch.tensor(1))
        with pytest.raises(ValueError, match="step must be from 0 to"):
            ema.update(2**53)
        assert ema.step == 1


def test_an_average_that_is_coarser_than_its_weights_is_said(client: Client, run_name: str) -> None:
    model = nn.Linear(4, 2).double()
    rules = [averages.timm_v3(), averages.textbook(decay=0.5, precision="F64")]
    with EMA(model, client, run=run_name, averages=rules) as ema:
        with pytest.warns(RuntimeWarning, match=r"float64 weights .*'timm-v3'.*float32.*precision=\"F64\"") as said:
            ema.register()
        assert "textbook" not in str(said[0].message)


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (nn.Linear(4, 2), averages.timm_v3()),
        (nn.Linear(4, 2).double(), averages.timm_v3(precision="F64")),
        (nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2).double()), averages.timm_v3(exclude=["1.*"])),
        (nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2).double()), averages.timm_v3(include=["0.*"])),
    ],
)
def test_nothing_is_said_of_averages_as_fine_as_their_weights(
    client: Client, run_name: str, model: nn.Module, rule: Average
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with EMA(model, client, run=run_name, averages=rule) as ema:
            ema.register()
