"""What must be the same for a training to go on: rows by their sha256, networks, losses and optimizers by content."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from backpass.data.arrays import Array, let_go, pieces
from backpass.forward import flatten
from backpass.graph import Graph
from backpass.training.rows import Rows

_SAMPLED = 4096  # elements of each array, to tell quickly whether rows are others


def fingerprint(rows: Rows | None) -> dict[str, Any] | None:
    """What tells whether rows are the same, and what differs where they are not."""
    if rows is None:
        return None
    inputs = rows.inputs if isinstance(rows.inputs, dict) else {"": rows.inputs}
    found = {
        "inputs": {str(name): _of_array(array) for name, array in inputs.items()},
        "targets": _of_array(rows.targets),
    }
    return found if rows.weights is None else found | {"weights": _of_array(rows.weights)}


def quick_fingerprint(rows: Rows) -> str:
    """The same from some elements of each array, in microseconds: for who goes on within one process."""
    total = hashlib.sha256()
    for array in [*flatten(rows.inputs), rows.targets, *([] if rows.weights is None else [rows.weights])]:
        flat = array.reshape(-1)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(np.ascontiguousarray(flat[:: max(1, flat.size // _SAMPLED)]).tobytes())
        let_go(array)
    return total.hexdigest()


def _of_array(array: Array) -> dict[str, Any]:
    total = hashlib.sha256()
    for piece in pieces(np.atleast_1d(array)):
        total.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": total.hexdigest()}


def described(thing: Any, depth: int = 24) -> str:
    """A layer, loss or optimizer as text, equal for equal ones in every process; of an array its sha256 is told."""
    if isinstance(thing, np.ndarray):
        return f"array{thing.shape} of {thing.dtype}, sha256 {_of_array(thing)['sha256'][:16]}"
    if thing is None or isinstance(thing, (str, bytes, int, float, complex, np.generic)) or not depth:
        return repr(thing)
    if isinstance(thing, Mapping):
        return "{" + ", ".join(f"{key!r}: {described(value, depth - 1)}" for key, value in thing.items()) + "}"
    if isinstance(thing, (list, tuple)):
        return "[" + ", ".join(described(value, depth - 1) for value in thing) + "]"
    if is_dataclass(thing) and not isinstance(thing, type):
        held = {field.name: getattr(thing, field.name) for field in fields(thing)}
    else:
        named = getattr(thing, "__qualname__", None)
        if named is not None:  # a function or a class
            return f"{getattr(thing, '__module__', '')}.{named}"
        held = dict(getattr(thing, "__dict__", {}))
    return f"{type(thing).__name__}(" + ", ".join(f"{name}={described(x, depth - 1)}" for name, x in held.items()) + ")"


def is_ours(thing: Any, depth: int = 24) -> bool:
    """Is a layer, loss or optimizer made of backpass's own alone, so that equal ones are traced alike?

    What others wrote may ask for anything when it is traced, and arrays may be changed.
    """
    if thing is None or isinstance(thing, (str, bytes, int, float, complex, np.generic)):
        return True
    if not depth:
        return False
    if isinstance(thing, Mapping):
        return all(is_ours(value, depth - 1) for value in thing.values())
    if isinstance(thing, (list, tuple)):
        return all(is_ours(value, depth - 1) for value in thing)
    kind = type(thing)
    ours = kind.__module__.partition(".")[0] == "backpass" and is_dataclass(kind)
    return ours and all(is_ours(getattr(thing, field.name), depth - 1) for field in fields(kind))


def of_graph(graph: Graph) -> str:
    """A sha256 of a graph and of the constants in it."""
    digest = hashlib.sha256(str(graph).encode(errors="surrogatepass"))
    for node in graph.nodes:
        if isinstance(value := node.attributes.get("value"), np.ndarray):
            digest.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def difference(before: Any, now: Any) -> str | None:
    """In words, where two plans differ; None where they are the same."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return None if before == now else f"was {_short(before)}, is {_short(now)}"
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name == "sha256":
            return "has other values"
        if name == "shape" and old and new and old[1:] == new[1:]:
            return f"had {old[0]:,} rows, has {new[0]:,}"
        if old is None or new is None:
            return f"{name} " + ("was not given, and is now" if old is None else "was given, and is not now")
        return f"{name} {difference(old, new)}".lstrip()
    return None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:160]}... ({len(text):,} letters)"
