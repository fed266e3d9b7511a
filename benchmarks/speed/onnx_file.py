"""A dense network as an ONNX file, written by hand: the file is a Protocol Buffers message with few kinds of fields.

Numbers of fields: onnx.proto of the ONNX project; wire format: protobuf.dev, "Encoding".
"""

from typing import Any

FLOAT = 1
IR_VERSION, OPSET = 8, 13


def dense_classifier(layers: list[tuple[Any, Any]]) -> bytes:
    """Rows "x" to probabilities "p": ReLU between the layers, a softmax at the end.

    Each layer is its weight (inputs, units) and bias (units,) in float32.
    """
    nodes, tensors, last = [], [], "x"
    for number, (weight, bias) in enumerate(layers):
        tensors += [_tensor(f"w{number}", weight), _tensor(f"b{number}", bias)]
        nodes.append(_node("Gemm", [last, f"w{number}", f"b{number}"], f"z{number}"))
        activation, last = ("Softmax", "p") if number == len(layers) - 1 else ("Relu", f"a{number}")
        nodes.append(_node(activation, [f"z{number}"], last))
    graph = [*(_field(1, node) for node in nodes), _field(2, b"network"), *(_field(5, tensor) for tensor in tensors)]
    graph += [_field(11, _rows("x", layers[0][0].shape[0])), _field(12, _rows("p", layers[-1][0].shape[1]))]
    opset = _field(2, OPSET)
    return _field(1, IR_VERSION) + _field(7, b"".join(graph)) + _field(8, opset)


def _node(kind: str, inputs: list[str], output: str) -> bytes:
    return b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode()) + _field(4, kind.encode())


def _tensor(name: str, values: Any) -> bytes:
    shape = b"".join(_field(1, size) for size in values.shape)
    return shape + _field(2, FLOAT) + _field(8, name.encode()) + _field(9, values.astype("<f4").tobytes())


def _rows(name: str, width: int) -> bytes:
    """The description of an input or output: any number of rows of `width` numbers."""
    shape = _field(1, _field(2, b"rows")) + _field(1, _field(1, width))
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, FLOAT) + _field(2, shape)))


def _field(number: int, value: int | bytes) -> bytes:
    """A field: whole numbers have wire type 0, everything else is its length and its bytes, wire type 2."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the low ones first; the high bit says that more follow."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
