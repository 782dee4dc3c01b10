"""Run by torchrun, in two lives of one training: the tests of several processes, and how it is restarted.

    torchrun --nproc-per-node 4 distributed_main.py TARGET DIRECTORY first FORM=STEPS ...
    torchrun --nproc-per-node 2 distributed_main.py TARGET DIRECTORY second

The first prints a line of JSON for each form, what `distributed_training.train` has found; of a form with 0 steps only
what would be sent is looked at. It ends by killing one of its processes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch.distributed as dist
from distributed_restart import first_life, second_life
from distributed_shares import check_refusals, check_share, check_worlds
from distributed_training import Traffic, train

import shadowkeep


def main() -> None:
    target, directory, life, *forms = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    check_worlds()
    with shadowkeep.connect(target) as client:
        if life == "second":
            second_life(client, directory / "first", directory / "second")
        else:
            check_refusals(target)
            check_forms(client, forms)
            first_life(client, directory / "first")
    dist.destroy_process_group()


def check_forms(client: shadowkeep.Client, forms: list[str]) -> None:
    traffic = Traffic(client)
    for form, steps in (argument.split("=") for argument in forms):
        check_share(form)
        figures = train(form, int(steps), client, traffic) if int(steps) > 0 else {}
        if dist.get_rank() == 0:
            print(json.dumps({"form": form, **figures}), flush=True)


if __name__ == "__main__":
    main()
