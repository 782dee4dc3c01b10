"""Two processes that fit one model under Lightning's DDP or in `Trainer`: `TARGET RUN DIRECTORY FRAMEWORK`.

Prints a line for each process: its rank, the run, whether it was evaluated with what the service has.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cutting_proxy import CuttingProxy

DECAY = 0.5


class Net(torch.nn.Module):
    """One layer; as `Trainer` wants it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = torch.nn.Linear(6, 2)
        self.seen: list[float] = []

    def forward(self, x: Any, labels: Any = None) -> dict[str, Any]:
        if not self.training:
            self.seen.append(float(self.layer.weight.detach().sum()))
        logits = self.layer(x)
        return {"loss": (logits - 1).square().mean(), "logits": logits}


def rows() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(5)
    return [{"x": torch.randn(6, generator=generator), "labels": torch.ones(2)} for _ in range(16)]


def fit_lightning(target: str, run: str, directory: Path) -> tuple[int, str, float]:
    import lightning.pytorch as pl

    from shadowkeep.integrations.lightning import ShadowkeepEMA

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def training_step(self, batch: Any, index: int) -> Any:
            return self.net(batch["x"])["loss"]

        def validation_step(self, batch: Any, index: int) -> None:
            self.net(batch["x"])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    callback = ShadowkeepEMA(target, run=run, decay=DECAY)
    data: Any = rows()
    loader: Any = torch.utils.data.DataLoader(data, batch_size=2)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        callbacks=[callback],
        default_root_dir=directory,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader)
    trainer.validate(module, loader, verbose=False)
    return trainer.global_rank, callback.run, module.net.seen[-1]


def fit_cut_off(target: str, run: str, directory: Path) -> tuple[int, str, float]:
    """As `fit_transformers`; the second process has lost its way to the service when the model is evaluated."""
    with CuttingProxy(target) as proxy:
        is_cut = os.environ["RANK"] == "1"
        return fit_transformers(proxy.target if is_cut else target, run, directory, proxy.refuse if is_cut else None)


def fit_transformers(
    target: str, run: str, directory: Path, before_evaluation: Callable[[], None] | None = None
) -> tuple[int, str, float]:
    import transformers

    from shadowkeep.integrations.transformers import ShadowkeepCallback

    net = Net()
    callback = ShadowkeepCallback(
        target, run=run, decay=DECAY, reconnect_timeout=60.0 if before_evaluation is None else 1.0
    )
    args = transformers.TrainingArguments(
        str(directory),
        use_cpu=True,
        per_device_train_batch_size=2,
        max_steps=4,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
    )
    trainer = transformers.Trainer(net, args, train_dataset=rows(), eval_dataset=rows()[:4], callbacks=[callback])
    callback.evaluate_with_average(trainer)
    trainer.train()
    if before_evaluation is not None:
        before_evaluation()
    trainer.evaluate()
    return trainer.args.process_index, callback.run, net.seen[-1]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    fit = {"lightning": fit_lightning, "transformers": fit_transformers, "cut-off": fit_cut_off}[sys.argv[4]]
    rank, name, seen = fit(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    # In one piece: both write to one pipe.
    sys.stdout.write(f"{rank} {name} {seen:.6f}\n")
    sys.stdout.flush()
