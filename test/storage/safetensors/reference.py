"""Reads safetensors files with the reference implementation: a path a line in, what it found a line out."""

import hashlib
import json
import sys

from safetensors import deserialize

for line in sys.stdin:
    path = json.loads(line)
    with open(path, "rb") as file:
        content = file.read()
    try:
        tensors = [
            {"name": name, "dtype": entry["dtype"], "shape": entry["shape"],
             "sha256": hashlib.sha256(bytes(entry["data"])).hexdigest()}
            for name, entry in deserialize(content)
        ]
        answer = {"tensors": tensors}
    except Exception as error:  # noqa: BLE001: its own error class, and UnicodeDecodeError and others
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
