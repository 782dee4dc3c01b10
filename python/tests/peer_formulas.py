"""What each peer computes, written again from its own source in float64, in its own form and with its own counters.

Each function takes p_0, the initial weights, and the pushed weights, and returns the shadow after each push.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Trajectory = Callable[[float, Sequence[float]], list[float]]


def register_and_update(decay: float) -> Trajectory:
    """Return the textbook class, timm V2, torch_ema without warm-up, TensorFlow without `num_updates`."""

    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, seen = initial, []
        for pushed in pushes:
            shadow = (1.0 - decay) * pushed + decay * shadow
            seen.append(shadow)
        return seen

    return run


def averaged_model(blend: Callable[[float, float, int], float]) -> Trajectory:
    """Return torch's AveragedModel: `n_averaged` 0 copies."""

    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, seen = initial, []
        for n_averaged, pushed in enumerate(pushes):
            shadow = pushed if n_averaged == 0 else blend(shadow, pushed, n_averaged)
            seen.append(shadow)
        return seen

    return run


def torch_ema(decay: float) -> Trajectory:
    return averaged_model(lambda shadow, pushed, _: shadow + (1 - decay) * (pushed - shadow))


def torch_swa() -> Trajectory:
    return averaged_model(lambda shadow, pushed, n: shadow + (pushed - shadow) / (n + 1))


def lightning(decay: float, every: int, start: int) -> Trajectory:
    """Return Lightning's callback: `should_update(step_idx)` of the zero-based index decides about AveragedModel."""

    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, n_averaged, seen = initial, 0, []
        for step_idx, pushed in enumerate(pushes):
            if step_idx >= start and step_idx % every == 0:
                shadow = pushed if n_averaged == 0 else decay * shadow + (1 - decay) * pushed
                n_averaged += 1
            seen.append(shadow)
        return seen

    return run


def timm_v3(
    decay: float, min_decay: float = 0.0, after: int = 0, warmup: bool = False, gamma: float = 1.0, power: float = 2 / 3
) -> Trajectory:
    def decay_at(step: int) -> float:
        step = max(0, step - after - 1)
        if step <= 0:
            return 0.0
        return max(min(1 - (1 + step / gamma) ** -power, decay), min_decay) if warmup else decay

    return _by_decay(decay_at, 1)


def diffusers(
    decay: float, min_decay: float = 0.0, after: int = 0, warmup: bool = False, gamma: float = 1.0, power: float = 2 / 3
) -> Trajectory:
    def decay_at(optimization_step: int) -> float:
        step = max(0, optimization_step - after - 1)
        if step <= 0:
            return 0.0
        value = 1 - (1 + step / gamma) ** -power if warmup else (1 + step) / (10 + step)
        return max(min(value, decay), min_decay)

    return _by_decay(decay_at, 1)


def fadel_torch_ema(decay: float) -> Trajectory:
    return _by_decay(lambda updates: min(decay, (1 + updates) / (10 + updates)), 1)


def tensorflow(decay: float, num_updates: int) -> Trajectory:
    return _by_decay(lambda updates: min(decay, (1.0 + updates) / (10.0 + updates)), num_updates)


def ultralytics(decay: float, tau: float, updates: int = 0) -> Trajectory:
    return _by_decay(lambda count: decay * (1 - math.exp(-count / tau)), updates + 1)


def k_diffusion(
    gamma: float = 1.0, power: float = 1.0, low: float = 0.0, high: float = 1.0, start_at: int = 0
) -> Trajectory:
    def decay_at(last_epoch: int) -> float:
        epoch = max(0, last_epoch - start_at)
        return max(low, min(high, 1 - math.pow(1 + epoch / gamma, -power)))

    return _by_decay(decay_at, 0)


def ema_pytorch(
    beta: float, after: int, every: int, gamma: float = 1.0, power: float = 2 / 3, low: float = 0.0
) -> Trajectory:
    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, counter, initted, seen = initial, 0, False, []
        for pushed in pushes:
            step, counter = counter, counter + 1
            if not initted or (step % every == 0 and step <= after):
                shadow, initted = pushed, True
            elif step % every == 0 and beta != 1:
                epoch = max(0, counter - after - 1)
                decay = min(max(1 - (1 + epoch / gamma) ** -power, low), beta) if epoch > 0 else 0.0
                shadow = shadow + (1 - decay) * (pushed - shadow)
            seen.append(shadow)
        return seen

    return run


def composer(smoothing: float, ema_start: int, interval: int) -> Trajectory:
    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, started, seen = initial, False, []
        for batch, pushed in enumerate(pushes, start=1):
            if not started and ema_start <= batch:
                shadow, started = pushed, True
            if started and batch % interval == 0:
                shadow = shadow * smoothing + (1.0 - smoothing) * pushed
            # Until it has started, evaluation is with the training weights.
            seen.append(shadow if started else pushed)
        return seen

    return run


def nemo(decay: float, every: int) -> Trajectory:
    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, seen = initial, []
        for current_step, pushed in enumerate(pushes):
            if current_step % every == 0:
                shadow = shadow * decay + pushed * (1 - decay)
            seen.append(shadow)
        return seen

    return run


def fairseq(ema_decay: float, start: int, freq: int) -> Trajectory:
    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, counter, seen = initial, 0, []
        for updates, pushed in enumerate(pushes, start=1):
            decay = 0 if updates < start else ema_decay
            counter += 1
            if counter >= freq:
                shadow, counter = shadow * decay + pushed * (1 - decay), 0
            seen.append(shadow)
        return seen

    return run


def mmengine(kind: str, momentum: float, gamma: float, interval: int, begin_iter: int) -> Trajectory:
    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, steps, seen = initial, 0, []
        for runner_iter, pushed in enumerate(pushes):
            if runner_iter + 1 < begin_iter:
                shadow = pushed
            else:
                if steps % interval == 0:
                    weight = {
                        "ema": momentum,
                        "annealing": max(momentum, gamma / (gamma + steps)),
                        "swa": 1 / (steps // interval + 1),
                    }[kind]
                    shadow = pushed if steps == 0 else shadow * (1 - weight) + pushed * weight
                steps += 1
            seen.append(shadow)
        return seen

    return run


def torchtitan(decay: float | None, fraction: float, start: int, bias: int, every: int) -> Trajectory:
    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, seen = initial, []
        for current_step, pushed in enumerate(pushes, start=1):
            elapsed = current_step - start
            if elapsed > 0 and elapsed % every == 0:
                used = 2.0 ** (-1.0 / (fraction * (elapsed // every + bias))) if decay is None else decay
                shadow = shadow + (1.0 - used) * (pushed - shadow)
            seen.append(shadow)
        return seen

    return run


def optax(decay: float, debias: bool) -> Trajectory:
    def run(_: float, pushes: Sequence[float]) -> list[float]:
        moment, seen = 0.0, []
        for count, pushed in enumerate(pushes, start=1):
            moment = (1 - decay) * pushed + decay * moment
            seen.append(moment / (1 - decay**count) if debias else moment)
        return seen

    return run


def keras(momentum: float) -> Trajectory:
    """Return Keras' `use_ema`: the momentum is 0 in iteration 0, so the zeros that it starts from never show."""
    return _by_decay(lambda iterations: momentum if iterations > 0 else 0.0, 0)


def edm2_power(std: float) -> Trajectory:
    """Return `PowerFunctionEMA` with one image a step; gamma by bisection of eq. 126, which falls with it."""
    low, high = 0.0, 1e6
    for _ in range(200):
        gamma = (low + high) / 2
        wide = math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) > std
        low, high = (gamma, high) if wide else (low, gamma)
    return _by_decay(lambda step: (1 - 1 / step) ** (low + 1), 1)


def edm2_traditional(halflife_mimg: float, rampup_ratio: float | None, batch_size: int) -> Trajectory:
    def beta(step: int) -> float:
        halflife = halflife_mimg
        if rampup_ratio is not None:
            halflife = min(halflife, step * batch_size / 1e6 * rampup_ratio)
        return float(0.5 ** (batch_size / max(halflife * 1e6, 1e-8)))

    return _by_decay(beta, 1)


def _by_decay(decay_at: Callable[[int], float], first: int) -> Trajectory:
    """Return s = s - (1 - decay) * (s - p) with the decay of a counter that is `first` at the first push."""

    def run(initial: float, pushes: Sequence[float]) -> list[float]:
        shadow, seen = initial, []
        for count, pushed in enumerate(pushes, start=first):
            shadow = shadow - (1 - decay_at(count)) * (shadow - pushed)
            seen.append(shadow)
        return seen

    return run
