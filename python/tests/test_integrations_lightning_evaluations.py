"""What Lightning's evaluations use while the service is away, and while steps are trained again."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: the integrations are not tested")
lightning: Any = pytest.importorskip(
    "lightning.pytorch", reason="lightning is not installed: its callback is not tested"
)

from cutting_proxy import CuttingProxy  # noqa: E402
from integration_support import close_to, textbook  # noqa: E402
from support import Server  # noqa: E402
from test_integrations_lightning import DECAY, Regression, loader  # noqa: E402
from test_integrations_lightning_runs import checkpoint, evaluate, quiet, with_checkpoints  # noqa: E402

from shadowkeep import Average, Client, NotFoundError, Retention, ShadowkeepError, averages  # noqa: E402
from shadowkeep.integrations.lightning import ShadowkeepEMA  # noqa: E402
from shadowkeep.torch.options import OnFailure  # noqa: E402


class Cutting(Regression):
    """Loses the way to the service after its last step."""

    proxy: CuttingProxy

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        if len(self.trajectory) == 4:
            self.proxy.refuse()


@pytest.mark.parametrize("on_failure", ["warn", "raise"])
def test_an_outage_ends_no_fit_that_is_to_outlast_it(
    server: Server, run_name: str, tmp_path: Path, on_failure: OnFailure
) -> None:
    model = Cutting()
    with CuttingProxy(server.target) as model.proxy:
        callback = ShadowkeepEMA(
            model.proxy.target, run=run_name, decay=DECAY, reconnect_timeout=1.0, on_failure=on_failure
        )
        fitted = quiet(tmp_path, callback, max_epochs=1)
        if on_failure == "raise":
            with pytest.raises(ShadowkeepError):
                fitted.fit(model, loader(3), loader(1))
            assert torch.equal(model.weights(), model.trajectory[-1])
            return
        with pytest.warns(RuntimeWarning, match="the average cannot be read .* evaluated with the model's own weights"):
            fitted.fit(model, loader(3), loader(1))
        assert torch.equal(model.seen["validation"][-1], model.trajectory[-1])
        begin = time.monotonic()
        with pytest.warns(RuntimeWarning, match="the average cannot be read .* evaluated with the model's own weights"):
            assert torch.equal(evaluate(fitted, model, "validate"), model.trajectory[-1])
        assert time.monotonic() - begin < 45.0, "as long as reconnect_timeout says, not as long as its default"


@pytest.mark.parametrize("is_retained", [True, False])
def test_steps_that_are_trained_again_are_evaluated_with_their_own_average(
    client: Client, run_name: str, tmp_path: Path, is_retained: bool
) -> None:
    retain = Retention(1, 16) if is_retained else None
    first = Regression()
    with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY, retain=retain)).fit(first, loader(6))
    second = Regression()
    again = quiet(
        tmp_path,
        ShadowkeepEMA(client, run=run_name, decay=DECAY, retain=retain),
        max_epochs=1,
        val_check_interval=1,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again.fit(second, loader(6), loader(1), ckpt_path=checkpoint(tmp_path, 3))
    said = [str(w.message) for w in caught if "does not hold the average of that step" in str(w.message)]
    assert len(said) == (0 if is_retained else 2)
    assert len(second.seen["validation"]) == 3
    for step, seen in zip((4, 5, 6), second.seen["validation"], strict=True):
        average = textbook(first.trajectory[: step + 1], DECAY)
        assert close_to(seen, average if is_retained or step == 6 else second.trajectory[step - 3])


def test_an_average_that_is_not_there_is_an_error_before_the_first_step(
    client: Client, run_name: str, tmp_path: Path
) -> None:
    several = (entry for entry in [averages.torch_ema(decay=DECAY, name="one"), averages.torch_swa(name="two")])
    model = Regression()
    callback = ShadowkeepEMA(client, run=run_name, averages=several, average="tow")
    with pytest.raises(NotFoundError, match=r"AVERAGE_NOT_FOUND: .* 'tow' .* 'one', 'two'"):
        quiet(tmp_path, callback, max_epochs=1).fit(model, loader(2))
    assert len(model.trajectory) == 1
    assert run_name not in [run.run for run in client.list_runs()]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_checkpoint_does_not_meet_another_run_of_its_name(
    client: Client, run_name: str, tmp_path: Path, is_known: bool
) -> None:
    retain = Retention(1, 16)
    first = Regression()
    fitted = with_checkpoints(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY, retain=retain))
    fitted.fit(first, loader(4))
    path = Path(checkpoint(tmp_path, 4))
    if not is_known:
        saved = torch.load(path, weights_only=True)
        for state in saved["callbacks"].values():
            state.pop("first_generation", None)
        torch.save(saved, path)
    client.delete_run(run_name)
    other = Regression()
    torch.nn.init.ones_(other.layer.weight)
    quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY, retain=retain), max_epochs=1).fit(other, loader(4))
    theirs = client.get_shadow(run_name).tensors["layer.weight"]
    callback = ShadowkeepEMA(client, run=run_name, decay=DECAY, retain=retain)
    again = quiet(tmp_path, callback, max_epochs=2)
    model = Regression()
    if not is_known:
        # What an older version has saved is taken at its word.
        assert close_to(theirs.ravel(), evaluate(again, model, "test", ckpt_path=str(path))[:12])
        return
    with pytest.warns(RuntimeWarning, match=f"step 4 of another run {run_name!r} than the service has"):
        assert torch.equal(evaluate(again, model, "test", ckpt_path=str(path)), first.trajectory[-1])
    with pytest.warns(RuntimeWarning, match=f"run {run_name!r} is another one than that of the checkpoint"):
        again.fit(Regression(), loader(4), ckpt_path=str(path))
    assert callback.run == f"{run_name}-2"
    assert client.get_run(run_name).committed_step == 4
    assert client.get_run(callback.run).states[0].num_updates == 4


PARTS: dict[str, dict[str, Any]] = {
    "a tensor is ignored": {"decay": DECAY, "policies": {"layer.bias": "IGNORE"}},
    "an average of a part": {"averages": Average.ema("a", decay=DECAY, start="INITIAL", include=["layer.weight"])},
}


@pytest.mark.parametrize("part", PARTS)
def test_an_evaluation_after_the_fit_is_as_the_last_one_in_it(
    client: Client, run_name: str, tmp_path: Path, part: str
) -> None:
    model = Regression()
    fitted = quiet(tmp_path, ShadowkeepEMA(client, run=run_name, **PARTS[part]), max_epochs=1)
    fitted.fit(model, loader(3), loader(1))
    inside = model.seen["validation"][-1]
    assert not torch.equal(inside, model.trajectory[-1])
    assert torch.equal(inside[12:], model.trajectory[-1][12:])
    assert torch.equal(evaluate(fitted, model, "validate"), inside)


def test_of_several_callbacks_one_evaluates(client: Client, run_name: str, tmp_path: Path) -> None:
    fitted = quiet(tmp_path, ShadowkeepEMA(client, run=run_name, decay=DECAY), max_epochs=1)
    fitted.callbacks.append(ShadowkeepEMA(client, run=f"{run_name}-b", decay=0.5))
    with pytest.raises(ValueError, match="give all but one swap=False"):
        fitted.fit(Regression(), loader(3), loader(1))
