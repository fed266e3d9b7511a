"""The model file: one safetensors file, whose metadata is the JSON of everything that is not a tensor.

Loading executes nothing: layers, losses and encoders are looked up by name in catalogues, and everything is checked.
"""

import hashlib
import json
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.checked_json import Record
from backpass.data.limits import amount, free_memory
from backpass.errors import BackpassError, ModelFileError
from backpass.forward import Structure, flatten, labels, map_structure, trace
from backpass.forward.trace import like
from backpass.graph import size
from backpass.losses import Heads, Loss, by_name
from backpass.losses import describe as describe_loss
from backpass.model.tabular import Tabular
from backpass.nn import Layer, build, describe, specs
from backpass.records import dataclass

FORMAT = 3  # 1 had no calibration, 2 no heads
WITHOUT_HEADS = 2  # what has none is written so that it can be read by who reads no more
KEY = "backpass"
_SHOWN = 300
_WIDEST_VALUE = 1 << 24  # numbers a row that any value of a network may have: what is beyond was not made by training
_PRECISIONS = ("float32", "float64")
# What a small file must not ask for: each part of the JSON takes some hundred bytes in memory, each layer is traced.
_MOST_PARTS, _MOST_LAYERS = 1 << 22, 10_000
_COPIES = 2  # of a file's content in memory, while it is read


@dataclass(frozen=True, eq=False)
class Content:
    """What a model file holds.

    Attributes:
        network, parameters: the layers, and what they learned.
        loss: what the network was trained by; it says what the outputs mean.
        row_shape: the shape of one row of the network's input.
        precision: "float32" or "float64".
        tabular: how the columns of a table become inputs, and outputs answers; None for a network of arrays.
        about: what else is worth knowing, as plain data: scores, options, versions.
    """

    network: Layer
    parameters: Structure
    loss: Loss
    row_shape: Any
    precision: str = "float32"
    tabular: Tabular | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> str:
        """The sha256 of all parameters: names, shapes, types and bytes. Equal networks have equal ones."""
        digest = hashlib.sha256()
        for label, value in zip(labels(self.parameters), flatten(self.parameters), strict=True):
            digest.update(f"{label}{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()


def to_bytes(model: Content) -> bytes:
    """The file's content; equal models have equal files."""
    from safetensors.numpy import save

    names = labels(model.parameters)
    tensors = {name: np.ascontiguousarray(value) for name, value in zip(names, flatten(model.parameters), strict=True)}
    if len(tensors) != len(names):
        raise ModelFileError("two parameters have the same name: give the layers other names")
    loss, options = describe_loss(model.loss)
    content = {
        "format": FORMAT if isinstance(model.loss, Heads) else WITHOUT_HEADS,
        "precision": model.precision,
        "network": describe(model.network),
        "row_shape": _plain_shape(model.row_shape),
        "loss": {"name": loss, "options": options},
        "parameters": [
            {"path": list(path), "name": name} for path, name in zip(_paths(model.parameters), names, strict=True)
        ],
        "tabular": None if model.tabular is None else model.tabular.to_json(),
        "about": model.about,
        "weights": model.weights,
    }
    return save(tensors, {KEY: json.dumps(content | {"checksum": _checksum(content)}, ensure_ascii=False)})


def read(path: str | Path) -> Content:
    """What a file holds, or the file in the folder of a run.

    Raises:
        ModelFileError: there is no such file, or it is no model, damaged, tampered with or of a newer format.
    """
    try:
        return _read(_place(Path(path)))
    except (ModelFileError, OSError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ModelFileError(f"{_cut(str(path))}: {_cut(reason)}") from None
    except (BackpassError, RecursionError, OverflowError) as error:
        raise ModelFileError(f"{_cut(str(path))}: the file is damaged or was changed ({_cut(str(error))})") from None


def _cut(text: str) -> str:
    """`text` on one line and short: a name or a value of a stranger's file may be anything."""
    text = " ".join(text.splitlines())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _place(path: Path) -> Path:
    """The model file itself, where `path` may be the folder of a run."""
    place = path / "model.safetensors" if path.is_dir() else path
    if not place.is_file():
        if (path / "run.json").is_file():
            diverged = f"or backpass doctor {path} if it diverged"
            raise ModelFileError(f"the run is not finished, it has no model yet: backpass resume {path}, {diverged}")
        hint = "there is no such file" if place == path else "the folder holds no model.safetensors"
        raise ModelFileError(f"{hint}: name a run's folder or a model file")
    return place


def _read(place: Path) -> Content:
    tensors, text = _opened(place)
    record = Record(_checked(_parsed(text)), "metadata")
    _check_format(record)
    network = build(_of_few_layers(record.take("network")))
    if not isinstance(network, Layer):
        raise ModelFileError("the network is not a layer: the file is damaged or was changed")
    tabular = record.take("tabular")
    loss = record.record("loss")
    model = Content(
        network=network,
        parameters=_parameters(record, tensors),
        loss=by_name(loss.text("name"), **_options(loss.take("options"))),
        row_shape=_shape(record.take("row_shape")),
        precision=record.choice("precision", _PRECISIONS),
        tabular=None if tabular is None else Tabular.from_json(tabular),
        about=_object(record.take("about")),
    )
    loss.finish()
    weights = record.text("weights")
    record.finish()
    if weights != model.weights:
        raise ModelFileError("the weights are not those that were saved: the file is damaged or was changed")
    _check_fit(model)
    return model


def _opened(place: Path) -> tuple[dict[str, Any], str]:
    """Tensors and metadata. The library checks the header's length, every offset and every size before it reads."""
    from safetensors import SafetensorError, safe_open

    _check_room(place)
    try:
        with safe_open(place, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise ModelFileError("a safetensors file, but not a model of backpass")
            return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118 - not a dictionary
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError, MemoryError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError("not a model file, or a damaged one: expected safetensors") from None


def _check_room(place: Path) -> None:
    """A file of zeros may be larger than its disk, and than any memory: it is not read before it is known to fit."""
    needed, free = _COPIES * place.stat().st_size, free_memory()
    if free is not None and needed > free:
        raise ModelFileError(f"reading it needs {amount(needed)}, and {amount(free)} are free here")


def _parsed(text: str) -> Any:
    if sum(map(text.count, ",[{")) > _MOST_PARTS:
        raise ModelFileError("the metadata has too many parts to be true: the file is damaged or was changed")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ModelFileError("the metadata is no JSON: the file is damaged or was changed") from None


def _of_few_layers(network: Any) -> Any:
    """The network's description as it is, once it is seen not to be endless."""
    layers, waiting = 0, [network]
    while waiting:
        part = waiting.pop()
        layers += isinstance(part, dict)
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    if layers > _MOST_LAYERS:
        raise ModelFileError(f"the network has {layers:,} parts, expected at most {_MOST_LAYERS:,}")
    return network


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _check_format(record: Record) -> None:
    found = record.whole("format")
    if found > FORMAT:
        raise ModelFileError(f"the file is of format {found}, this version of backpass reads up to {FORMAT}: update it")
    if found < 1:
        raise ModelFileError(f"the file is of format {found}, which never was")


def _checked(content: Any) -> dict[str, Any]:
    """The metadata without its checksum, once that is found right."""
    rest = {key: value for key, value in _object(content).items() if key != "checksum"}
    # A newer format may count its checksum in another way: then its number is what must be told.
    if type(rest.get("format")) is int and rest["format"] <= FORMAT and content.get("checksum") != _checksum(rest):
        raise ModelFileError("the metadata is not what was saved: the file is damaged or was changed")
    return rest


def _checksum(content: dict[str, Any]) -> str:
    try:
        text = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a pair, as "\\ud800": JSON can write it, but no text holds it
        raise ModelFileError("the metadata holds text that is no Unicode: the file is damaged or was changed") from None
    return hashlib.sha256(text).hexdigest()


def _parameters(record: Record, tensors: dict[str, Any]) -> Structure:
    """The nested dictionaries of the parameters, from their paths."""
    root: dict[str, Any] = {}
    for entry in record.records("parameters"):
        path, name = entry.texts("path"), entry.text("name")
        entry.finish()
        if name not in tensors or not path:
            raise ModelFileError(f'the tensor "{name[:60]}" is not there: the file is damaged or was changed')
        inner = root
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ModelFileError(f'the parameter "{name[:60]}" has no place: the file is damaged or was changed')
        inner[path[-1]] = tensors.pop(name)
    if tensors:
        raise ModelFileError(f'the tensor "{next(iter(tensors))[:60]}" belongs to no parameter')
    return root


def _check_fit(model: Content) -> None:
    """Whether network, parameters, inputs and outputs fit one another, without calculating anything."""
    values = flatten(model.parameters)
    if any(value.dtype != model.precision or not np.isfinite(value).all() for value in values):
        raise ModelFileError(f"not all parameters are finite numbers of {model.precision}: the file was changed")
    try:
        traced = trace(model.network, map_structure(like, model.parameters), specs(model.row_shape, model.precision))
    except (KeyError, IndexError, TypeError, AttributeError):  # a layer does not find what it needs
        raise ModelFileError("network and parameters do not fit each other: the file was changed") from None
    if any(size(node.shape) > _WIDEST_VALUE for node in traced.graph.nodes):
        raise ModelFileError("a layer is too large to be true: the file is damaged or was changed")
    outputs = size(traced.graph.outputs[0].shape)
    if model.tabular is not None:
        targets = model.tabular.targets
        expected = (1, 2) if len(targets.classes) == 2 else (targets.outputs,)
        heads = [head.outputs for head in model.loss.heads] if isinstance(model.loss, Heads) else []
        fits = outputs in expected and heads == [part.outputs for part in targets.parts]
        if not fits or _table_shape(model.tabular) != model.row_shape:
            raise ModelFileError("network and encoders do not fit each other: the file is damaged or was changed")


def _table_shape(tabular: Tabular) -> Any:
    numbers = (len(tabular.inputs.feature_names),)
    embedded = tabular.inputs.embeddings
    return {"numbers": numbers, **dict.fromkeys(embedded, ((), "int64"))} if embedded else numbers


def _paths(parameters: Structure) -> list[tuple[str, ...]]:
    """The keys that lead to each parameter, in the order of `flatten`."""
    if not isinstance(parameters, dict):
        return [()]
    return [(str(key), *path) for key, part in parameters.items() for path in _paths(part)]


def _plain_shape(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {name: _plain_shape(part) for name, part in shape.items()}
    return [list(shape[0]), shape[1]] if len(shape) == 2 and isinstance(shape[0], tuple) else list(shape)


def _shape(value: Any, *, inner: bool = False) -> Any:
    """The shape of a row again, checked."""
    if isinstance(value, dict) and not inner and value:
        return {str(name): _shape(part, inner=True) for name, part in value.items()}
    if isinstance(value, list):
        if len(value) == 2 and isinstance(value[0], list) and value[1] == "int64":
            return _sizes(value[0]), "int64"
        return _sizes(value)
    raise ModelFileError("the shape of a row is no shape: the file is damaged or was changed")


def _sizes(value: list[Any]) -> tuple[int, ...]:
    if not all(type(axis) is int and 0 <= axis < 1 << 40 for axis in value):
        raise ModelFileError("the shape of a row is no shape: the file is damaged or was changed")
    return tuple(value)


def _options(value: Any) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in _object(value).items()}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelFileError("the metadata is not what was saved: the file is damaged or was changed")
    return value
