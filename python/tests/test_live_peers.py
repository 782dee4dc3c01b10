"""The peers' own packages, run live beside the service: random float32 tensors, 200 steps, each step within 2 ulp.

After each step the peer's shadow is set to ours, so that the next one begins with the same bits and each step is
judged by itself: |ours - theirs| <= 2 ulp of max(|s|, |p|), s the shadow before the step and p the weights. So no error
of an earlier step is counted again, and none is hidden: all arithmetic of both is one step's. Counters and schedules
stay the peer's own. A difference in w shows in one step, because |p - s| is as large as s.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pytest
from support import F32, ulp_distance

import shadowkeep.averages as presets
from shadowkeep import Average, Client

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the peers that need it are not run")

STEPS = 200
ULP_MAX = 2.0
SHAPES = [("weight", (31, 17)), ("bias", (64,))]


class Peer(Protocol):
    """One peer's averaging of the same tensors."""

    def update(self, weights: Sequence[F32], step: int) -> Sequence[F32]: ...
    def seed(self, shadow: Sequence[F32]) -> None: ...


class TorchPeer:
    """A peer that averages torch parameters: `update` is given the model, `shadow_of` finds the peer's tensors."""

    def __init__(
        self,
        initial: Sequence[F32],
        make: Callable[[Any], Any],
        update: Callable[[Any, Any, int], None],
        shadow_of: Callable[[Any], Sequence[Any]],
    ) -> None:
        self._model = torch.nn.ParameterList([torch.nn.Parameter(torch.from_numpy(value.copy())) for value in initial])
        self._peer, self._update, self._shadow_of = make(self._model), update, shadow_of

    def update(self, weights: Sequence[F32], step: int) -> Sequence[F32]:
        with torch.no_grad():
            for parameter, value in zip(self._model, weights, strict=True):
                parameter.copy_(torch.from_numpy(value))
        self._update(self._peer, self._model, step)
        return [tensor.detach().numpy().copy() for tensor in self._shadow_of(self._peer)]

    def seed(self, shadow: Sequence[F32]) -> None:
        with torch.no_grad():
            for tensor, value in zip(self._shadow_of(self._peer), shadow, strict=True):
                tensor.copy_(torch.from_numpy(value))


class OptaxPeer:
    """`optax.ema`, whose state is the moment before it is divided by 1 - decay^k.

    With 64-bit numbers for that divisor (in float32, 1 - 0.999 has lost four digits), and, where it debiases, for the
    moment: as float32 it is rounded when it is seeded, when it is made and when it is divided, up to 3 ulp in a step.
    """

    def __init__(self, initial: Sequence[F32], decay: float, debias: bool) -> None:
        self._jax: Any = pytest.importorskip("jax")
        self._jax.config.update("jax_enable_x64", True)
        self._decay, self._debias = decay, debias
        self._dtype: Any = np.float64 if debias else np.float32
        optax: Any = pytest.importorskip("optax")
        self._transform = optax.ema(decay, debias=debias, accumulator_dtype=self._dtype)
        self._state = self._transform.init([self._jax.numpy.asarray(value) for value in initial])

    def update(self, weights: Sequence[F32], step: int) -> Sequence[F32]:
        shadow, self._state = self._transform.update([self._jax.numpy.asarray(value) for value in weights], self._state)
        assert all(value.dtype == self._dtype for value in shadow)
        return [np.asarray(value).astype(np.float32) for value in shadow]

    def seed(self, shadow: Sequence[F32]) -> None:
        factor = 1 - self._decay ** int(self._state.count) if self._debias else 1.0
        moments = [(value.astype(np.float64) * factor).astype(self._dtype) for value in shadow]
        self._state = self._state._replace(ema=[self._jax.numpy.asarray(value) for value in moments])


Make = Callable[[Sequence[F32]], Peer]


def averaged_model(**options: Any) -> Make:
    from torch.optim.swa_utils import AveragedModel

    return lambda initial: TorchPeer(
        initial,
        lambda model: AveragedModel(model, **options),
        lambda peer, model, _: peer.update_parameters(model),
        lambda peer: list(peer.module.parameters()),
    )


def torch_ema_and_swa() -> Iterator[tuple[Average, Make]]:
    utils: Any = torch.optim.swa_utils
    yield presets.torch_ema(decay=0.99), averaged_model(multi_avg_fn=utils.get_ema_multi_avg_fn(0.99))
    yield presets.torch_ema(), averaged_model(avg_fn=utils.get_ema_avg_fn())
    yield presets.torch_swa(), averaged_model()


def timm() -> Iterator[tuple[Average, Make]]:
    utils = pytest.importorskip("timm.utils", reason="timm is not installed: its ModelEmaV2 and V3 are not run")

    def v2(decay: float) -> Make:
        return lambda initial: TorchPeer(
            initial,
            lambda model: utils.ModelEmaV2(model, decay=decay),
            lambda peer, model, _: peer.update(model),
            lambda peer: list(peer.module.parameters()),
        )

    def v3(**options: Any) -> Make:
        return lambda initial: TorchPeer(
            initial,
            lambda model: utils.ModelEmaV3(model, **options),
            lambda peer, model, step: peer.update(model, step=step),
            lambda peer: list(peer.module.parameters()),
        )

    yield presets.timm_v2(decay=0.99), v2(0.99)
    rows: list[dict[str, Any]] = [
        {},
        {"decay": 0.9, "update_after_step": 20},
        {"use_warmup": True},
        {"decay": 0.95, "min_decay": 0.3, "update_after_step": 7, "use_warmup": True, "warmup_gamma": 5.0},
        {"decay": 0.99, "use_warmup": True, "warmup_power": 0.75, "foreach": False},
    ]
    for options in rows:
        yield presets.timm_v3(**options), v3(**options)


def ema_pytorch() -> Iterator[tuple[Average, Make]]:
    module = pytest.importorskip("ema_pytorch", reason="ema-pytorch is not installed: its EMA is not run")

    def make(**options: Any) -> Make:
        return lambda initial: TorchPeer(
            initial,
            lambda model: module.EMA(model, **options),
            lambda peer, _model, _: peer.update(),
            lambda peer: list(peer.ema_model.parameters()),
        )

    rows: list[dict[str, Any]] = [
        {},
        {"update_after_step": 0, "update_every": 1},
        {"update_after_step": 23, "update_every": 7, "beta": 0.9},
        {"update_after_step": 24, "update_every": 3, "inv_gamma": 2.0, "power": 0.75, "min_value": 0.2},
        {"update_after_step": 11, "update_every": 3, "beta": 1.0},
    ]
    for options in rows:
        yield presets.ema_pytorch(**options), make(**options)


def torch_ema_package() -> Iterator[tuple[Average, Make]]:
    module = pytest.importorskip("torch_ema", reason="torch-ema is not installed: its class is not run")

    def make(**options: Any) -> Make:
        return lambda initial: TorchPeer(
            initial,
            lambda model: module.ExponentialMovingAverage(model.parameters(), **options),
            lambda peer, model, _: peer.update(model.parameters()),
            lambda peer: peer.shadow_params,
        )

    rows: list[dict[str, Any]] = [{"decay": 0.999}, {"decay": 0.5}, {"decay": 0.99, "use_num_updates": False}]
    for options in rows:
        yield presets.fadel_torch_ema(**options), make(**options)


def diffusers() -> Iterator[tuple[Average, Make]]:
    utils = pytest.importorskip("diffusers.training_utils", reason="diffusers is not installed: EMAModel is not run")

    def make(**options: Any) -> Make:
        return lambda initial: TorchPeer(
            initial,
            lambda model: utils.EMAModel(model.parameters(), **options),
            lambda peer, model, _: peer.step(model.parameters()),
            lambda peer: peer.shadow_params,
        )

    rows: list[dict[str, Any]] = [
        {},
        {"decay": 0.9, "min_decay": 0.4, "update_after_step": 13},
        {"use_ema_warmup": True, "power": 0.75},
        {"use_ema_warmup": True, "inv_gamma": 3.0, "foreach": True},
    ]
    for options in rows:
        yield presets.diffusers(**options), make(**options)


def optax() -> Iterator[tuple[Average, Make]]:
    pytest.importorskip("optax", reason="optax is not installed: its ema is not run")

    def make(decay: float, debias: bool) -> Make:
        return lambda initial: OptaxPeer(initial, decay, debias)

    for decay, debias in ((0.9, True), (0.999, True), (0.99, False)):
        yield presets.optax(decay=decay, debias=debias), make(decay, debias)


PACKAGES = [torch_ema_and_swa, timm, ema_pytorch, torch_ema_package, diffusers, optax]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.__name__))
def test_each_step_is_the_live_peers(
    client: Client,
    run_name: str,
    rng: np.random.Generator,
    package: Callable[[], Iterator[tuple[Average, Make]]],
) -> None:
    with warnings.catch_warnings():
        # What the peers' own imports say is not about us.
        warnings.simplefilter("ignore")
        pairs = [(replace(average, name=f"a{index}"), make) for index, (average, make) in enumerate(package())]
    before = weights_of(rng)
    peers = [make(list(before.values())) for _, make in pairs]
    shadows = [list(before.values()) for _ in pairs]
    worst = dict.fromkeys((average.preset for average, _ in pairs), 0.0)
    with client.open_run(run_name, before, [average for average, _ in pairs]) as run:
        run.push_initial(before)
        for step in range(1, STEPS + 1):
            weights = weights_of(rng)
            run.update(step, weights)
            for index, ((average, _), peer) in enumerate(zip(pairs, peers, strict=True)):
                read = client.get_shadow(run_name, average.name, min_step=step)
                ours = [read.tensors[name] for name in weights]
                theirs = peer.update(list(weights.values()), step)
                for mine, their, old, pushed in zip(ours, theirs, shadows[index], weights.values(), strict=True):
                    far = ulp_distance(mine, their, np.maximum(np.abs(old), np.abs(pushed)))
                    worst[average.preset] = max(worst[average.preset], far)
                assert worst[average.preset] <= ULP_MAX, f"{average.preset}: {worst[average.preset]} ulp at step {step}"
                peer.seed(ours)
                shadows[index] = ours
    print({preset: round(far, 3) for preset, far in worst.items()})


def weights_of(rng: np.random.Generator) -> dict[str, F32]:
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in SHAPES}
