"""A network as a table: layers, shapes and numbers of parameters."""

from collections.abc import Iterator
from typing import Any

from backpass.nn.layer import Layer, Parameters, RowShape, count
from backpass.ops import Key

_Line = tuple[str, str, str, str]


def summary(network: Layer, shape: RowShape | None) -> str:
    """The table that `print(network)` shows. Shapes are known once the input's is: by `Input(...)`, or from data."""
    parameters = None if shape is None else network.init(shape, Key.of(0))
    lines: list[_Line] = [("layer", "kind", "output", "parameters"), *_rows(network, "", shape, parameters, 0)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    table = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    total = "unknown until it meets data" if parameters is None else f"{count(parameters):,}"
    return "\n".join([table[0], "-" * len(table[0]), *table[1:], f"parameters in all: {total}"])


def layers(network: Layer, shape: RowShape, parameters: Parameters) -> list[_Line]:
    """For each layer its name, indented as it stands in others, its kind, the shape of its output, its parameters."""
    return list(_rows(network, "", shape, parameters, 0))


def _aligned(line: _Line, widths: list[int]) -> Iterator[str]:
    for column, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield f"{cell:>{width}}" if column == 3 else f"{cell:<{width}}"


def _rows(
    layer: Layer, name: str, shape: RowShape | None, parameters: Parameters | None, depth: int
) -> Iterator[_Line]:
    if name:
        known = shape is not None and parameters is not None
        output = _show(layer.output_shape(shape, parameters)) if known else "?"
        learned = f"{count(parameters):,}" if known else "?"
        yield "  " * (depth - 1) + name, describe_kind(layer), output, learned
    for inner_name, inner, inner_shape, inner_parameters in layer.parts(shape, parameters):
        yield from _rows(inner, inner_name, inner_shape, inner_parameters, depth + 1)


def describe_kind(layer: Layer) -> str:
    """`Dense(16)`: the kind of a layer, with its main number where it has one."""
    main = next((str(getattr(layer, name)) for name in ("units", "rate", "slope") if hasattr(layer, name)), "")
    return f"{type(layer).__name__}({main})" if main else type(layer).__name__


def _show(shape: Any) -> str:
    return " x ".join(str(axis) for axis in shape) if shape else "1"
