"""A process that takes commands as JSON lines on standard input and answers each with one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def serve(**commands: Callable[..., Any]) -> None:
    """Run `commands[line.command](**rest of the line)` until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = commands[request.pop("command")](**request)
        print(json.dumps(answer), flush=True)
