"""Writes a safetensors file of every numpy dtype with the reference implementation: a path a line in, its tensors out."""

import hashlib
import json
import sys

import numpy
from safetensors.numpy import save_file

NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64",
}

for line in sys.stdin:
    tensors = {}
    for index, (dtype, name) in enumerate(NAMES.items()):
        tensors[f"matrix.{dtype}"] = (numpy.arange(15) + index).reshape(3, 5).astype(name)
    tensors["scalar"] = numpy.array(1.5, dtype="float32")
    tensors["empty"] = numpy.zeros((2, 0, 3), dtype="float64")
    tensors["na\u00efve \U0001f642"] = numpy.ones(1, dtype="uint8")
    save_file(tensors, json.loads(line), metadata={"made by": "reference"})
    dtypes = {name: dtype for dtype, name in NAMES.items()}
    print(json.dumps([
        {"name": name, "dtype": dtypes[array.dtype.name], "shape": list(array.shape),
         "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
        for name, array in tensors.items()
    ]))
