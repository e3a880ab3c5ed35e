"""Reads the weights of a model folder with numpy alone and prints their names and shapes.

    python3 examples/python/load_weights.py model

With the safetensors package `safetensors.numpy.load_file("model/model.safetensors")` gives the same dictionary.
"""

import gzip
import json
import pathlib
import struct
import sys

import numpy


def load_weights(path):
    """Name -> array. The file is 8 bytes with the length of a JSON header, the header, and the values, little-endian."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    weights = {}
    for name, about in header.items():
        assert about["dtype"] == "F32", f"{name}: {about['dtype']}"
        start, end = (8 + length + offset for offset in about["data_offsets"])
        weights[name] = numpy.frombuffer(data[start:end], "<f4").reshape(about["shape"])
    return weights


def load_items(path):
    """Raw id of each row of an item table; None where no id leads to it."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)["vocabulary"]["items"]


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    items = load_items(folder / "vocabulary.json.gz")
    for name, values in sorted(load_weights(folder / "model.safetensors").items()):
        print(f"{name} {list(values.shape)} mean {values.mean() if values.size else 0.0:+.4f}")
        if name.startswith("table."):
            assert len(values) == len(items), name
