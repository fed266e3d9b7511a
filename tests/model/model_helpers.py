"""Small trained models, and model files taken apart and put together again."""

import hashlib
import json
import struct
from functools import cache

import numpy as np

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.data import Table

ROWS = 60


def columns(rows=ROWS, seed=0):
    """A table with a number column with gaps, few categories, many categories, a date and a class."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    return {
        "size": [None if place % 9 == 4 else float(value) for place, value in enumerate(size)],
        "colour": [["red", "green", "blue"][place % 3] for place in range(rows)],
        "town": [f"town {place % 40}" for place in range(rows)],
        "day": [f"2024-0{1 + place % 9}-1{place % 7}" for place in range(rows)],
        "kind": ["big" if value > 0 else "small" for value in size],
    }


def table(rows=ROWS):
    return Table.from_data(columns(rows), name="things.csv")


@cache
def table_model():
    return bp.train(table(), "kind", effort="fast", recipe={"epochs": 2, "hidden": (4,)}).model


@cache
def array_model():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 3))
    net = nn.Sequential(nn.Input(3), nn.Dense(4), nn.LeakyReLU(0.1), nn.Residual(nn.Dense(4), nn.Tanh()), nn.Dense(2))
    trainer = bp.Trainer(net, losses.Huber(0.7), optimizers.Adam(0.01), seed=2)
    trainer.fit(x, x[:, :2], epochs=2)
    return trainer.model()


X = np.random.default_rng(3).normal(size=(7, 3))


def parts(data):
    """The header as JSON, and the bytes of the tensors, of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header, tensors):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def checksum(content):
    rest = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def edited(data, change, *, sealed=True):
    """The file with its metadata changed by `change`; `sealed` with a right checksum, as a skilled forger would."""
    header, tensors = parts(data)
    content = json.loads(header["__metadata__"]["backpass"])
    changed = change(content)
    content = content if changed is None else changed
    if sealed and isinstance(content, dict):
        content["checksum"] = checksum(content)
    header["__metadata__"]["backpass"] = json.dumps(content)
    return joined(header, tensors)
