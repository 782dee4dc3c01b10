"""A named rule of a run: `shadow += w_k * (weights - shadow)` at the k-th folded update."""

from __future__ import annotations

from typing import Self, Unpack

from .. import wire
from .rule import AverageOptions, Rule
from .table import parameters


class Average(Rule):
    """A named rule of a run. Make one with a class method (a formula) or a preset (`shadowkeep.averages.timm_v3()`).

    Formulas speak of n, the schedule's index: `first_index` (0) at the first folded update, then one more each time.

    Attributes:
        name: unique in the run, `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`.
        schedule: how w_k comes about.
        start: what the shadow is before the first update: ZEROS, the INITIAL push (`Run.push_initial`, required), or
            whatever comes FIRST: the first update is copied. Class methods: FIRST.
        precision: F32 or F64, the dtype of the shadow and of its arithmetic.
        delay_updates: updates before the schedule begins.
        delay_mode: what happens until then: the shadow equals the newest weights (COPY_UNTIL: at the updates that
            `every` takes; COPY_EACH_UNTIL: at each), or stays as it started (HOLD_UNTIL).
        every: of the updates i = 1, 2 ... only those with i % every == every_offset touch the shadow.
        every_offset: see `every`; below it.
        decay_unit: PER_UPDATE, or PER_STEP: the decay counts the trainer's steps, so that pushing every 1, 10 or 100
            steps gives the same average.
        first_index: n of the first folded update.
        index_unit: what n counts, folded UPDATES, or all PUSHES after the delay, those that `every` passes over, too.
        bias_correction: w_k = (1 - decay) / (1 - decay^k), an average from ZEROS without its bias. Only for constant
            decays below 1 and half-lives, and not from INITIAL.
        include: name patterns of the tensors that it averages, "*" matches any run of characters; none: all.
        exclude: patterns of those that it does not.
        preset: what it was expanded from, for people to read.
        buffers: what becomes of a model's buffers where `EMA(buffers=...)` is left open: those of floating-point are
            averaged, or all copied, as the peer of a preset does. None: nothing is said. The service is not told.
    """

    __slots__ = ()

    @classmethod
    def ema(cls, name: str, *, decay: float, **options: Unpack[AverageOptions]) -> Self:
        """Exponential moving average: shadow = decay * shadow + (1 - decay) * weights, 0 <= decay <= 1.

        The textbook class blends the first update into the initial weights: `start="INITIAL"`, and `Run.push_initial`.
        """
        return cls(name, wire.ConstantDecay(**parameters("constant", decay=decay)), **options)

    @classmethod
    def half_life(cls, name: str, *, updates: float, **options: Unpack[AverageOptions]) -> Self:
        """A constant decay, by the number of updates after which an old weight counts half: decay = 2^(-1 / updates).

        With `decay_unit="PER_STEP"`, by the number of the trainer's steps.
        """
        return cls(name, wire.HalfLife(**parameters("half_life", updates=updates)), **options)

    @classmethod
    def mean(cls, name: str, **options: Unpack[AverageOptions]) -> Self:
        """Plain average of all updates (stochastic weight averaging, Izmailov et al. 2018): w_k = 1 / k."""
        return cls(name, wire.Mean(), **options)

    @classmethod
    def ratio_warmup(
        cls, name: str, *, decay: float, decay_min: float = 0.0, **options: Unpack[AverageOptions]
    ) -> Self:
        """decay_n = max(decay_min, min(decay, (1 + n) / (10 + n))): the warm-up of TensorFlow's `num_updates`."""
        checked = parameters("ratio_warmup", decay=decay, decay_min=decay_min)
        return cls(name, wire.RatioWarmup(**checked), **options)

    @classmethod
    def inverse_power(
        cls,
        name: str,
        *,
        inv_gamma: float = 1.0,
        power: float = 2 / 3,
        decay_min: float = 0.0,
        decay_max: float = 1.0,
        **options: Unpack[AverageOptions],
    ) -> Self:
        """decay_n = clamp(1 - (1 + n / inv_gamma)^-power, decay_min, decay_max): K. Crowson's warm-up.

        With power 1 and no bounds it is the plain average.
        """
        bounds = {"decay_min": decay_min, "decay_max": decay_max}
        checked = parameters("inverse_power", inv_gamma=inv_gamma, power=power, **bounds)
        return cls(name, wire.InversePower(**checked), **options)

    @classmethod
    def exponential_ramp(cls, name: str, *, decay: float, tau: float, **options: Unpack[AverageOptions]) -> Self:
        """decay_n = decay * (1 - exp(-n / tau)): the ramp of the YOLO family."""
        return cls(name, wire.ExponentialRamp(**parameters("exponential_ramp", decay=decay, tau=tau)), **options)

    @classmethod
    def half_life_fraction(cls, name: str, *, fraction: float = 0.05, **options: Unpack[AverageOptions]) -> Self:
        """decay_n = 2^(-1 / (fraction * n)): a half-life that is a fraction of all updates so far; n = 0 assigns."""
        return cls(name, wire.HalfLifeFraction(**parameters("half_life_fraction", fraction=fraction)), **options)

    @classmethod
    def annealed_momentum(
        cls, name: str, *, momentum: float, gamma: float = 100.0, **options: Unpack[AverageOptions]
    ) -> Self:
        """w_n = max(momentum, gamma / (gamma + n)), a momentum in the sense of 1 - decay."""
        checked = parameters("annealed_momentum", momentum=momentum, gamma=gamma)
        return cls(name, wire.AnnealedMomentum(**checked), **options)

    @classmethod
    def cosine(cls, name: str, *, decay: float, steps: int, **options: Unpack[AverageOptions]) -> Self:
        """decay_n = 1 - (1 - decay) * (cos(pi * n / steps) + 1) / 2: from `decay` to 1 at n = steps, where it stays."""
        return cls(name, wire.Cosine(**parameters("cosine", decay=decay, steps=steps)), **options)

    @classmethod
    def power(
        cls,
        name: str,
        *,
        gamma: float | None = None,
        sigma_rel: float | None = None,
        **options: Unpack[AverageOptions],
    ) -> Self:
        """EDM2's power-function average: w = 1 - (1 - delta / t)^(gamma + 1) (Karras et al. 2023, eq. 127).

        Its profile over the training of t updates is proportional to tau^gamma. With `decay_unit="PER_STEP"`, t and
        delta count the trainer's steps. Snapshots of such averages combine to any width (`Client.get_shadow`).

        Args:
            name: the average's name.
            gamma: exponent of the profile, 0 or above.
            sigma_rel: in its place, the profile's relative standard deviation, above 0 and at most 1 / sqrt(12).
            options: see `Average`.
        """
        checked = parameters("power_function", gamma=gamma, sigma_rel=sigma_rel)
        return cls(name, wire.PowerFunction(**checked), **options)

    @classmethod
    def half_life_ramp_up(
        cls, name: str, *, half_life: float = 0.0, ratio: float = 0.09, **options: Unpack[AverageOptions]
    ) -> Self:
        """EDM2's traditional average: half-life min(half_life, ratio * t) at time t; half_life 0: without bound."""
        checked = parameters("half_life_ramp_up", half_life=half_life, ratio=ratio)
        return cls(name, wire.HalfLifeRampUp(**checked), **options)
