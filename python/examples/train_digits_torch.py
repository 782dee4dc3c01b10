"""Train a small classifier on handwritten digits, with its EMA in a Shadowkeep service.

    node dist/main.js serve &
    python python/examples/train_digits_torch.py --target 127.0.0.1:50051

Prints the accuracy of the raw and of the averaged weights after each epoch; a noisy learning rate makes the
difference visible. Exits with 1 when the average does not end up at least as good as the raw weights, within 1 %.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from shadowkeep.torch import EMA

DIGITS = Path(__file__).resolve().parents[2] / "src" / "demo" / "data" / "digits.csv.gz"
TEST_IMAGES = 360
BATCH = 32
PIXEL_MAX = 16
TOLERANCE = 0.01


def load_digits() -> tuple[torch.Tensor, torch.Tensor]:
    with gzip.open(DIGITS, "rt") as lines:
        rows = torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.float32))
    shuffled = rows[torch.randperm(len(rows))]
    return shuffled[:, :-1] / PIXEL_MAX, shuffled[:, -1].long()


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="127.0.0.1:50051", help="HOST:PORT of the service")
    parser.add_argument("--run", default="digits-torch", help="the run's name")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = load_digits()
    test, train = (images[:TEST_IMAGES], labels[:TEST_IMAGES]), (images[TEST_IMAGES:], labels[TEST_IMAGES:])
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)

    raw = averaged = 0.0
    with EMA(model, options.target, run=options.run, decay=0.98) as ema:
        ema.register()
        for epoch in range(1, options.epochs + 1):
            for batch in torch.split(torch.randperm(len(train[1])), BATCH):
                loss = nn.functional.cross_entropy(model(train[0][batch]), train[1][batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                ema.update()
            raw = accuracy(model, *test)
            with ema.average_parameters():
                averaged = accuracy(model, *test)
            print(f"epoch {epoch}  step {ema.step}  accuracy raw {raw:.1%}  averaged {averaged:.1%}")
    return 0 if averaged >= raw - TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
