"""Applying an operation: at once where all inputs are numbers or arrays, as a new node where one is a Tensor."""

from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.graph import Node, current_scope
from backpass.ops.kinds import BOOL, FLOAT64, INT64, DType, Pointwise, Record, Source, Value
from backpass.ops.samples import Case

_ALLOWED = {np.dtype(name): None for name in ("bool", "int32", "int64", "uint64", "float32", "float64")}


def apply(op: Record, *operands: Value, **attributes: Any) -> Any:
    """`op` of `operands`. Plain Python numbers take the type of the others, as in NumPy.

    Raises:
        ShapeError: the shapes or dtypes do not fit the operation.
    """
    if not any(isinstance(x, Node) for x in operands):
        return _run(op, operands, attributes)
    inputs = _uniform(op, operands)
    try:
        shape, dtype = op.infer(inputs, attributes)
    except ShapeError as error:
        raise ShapeError(f"{op.name}{_where()}: {str(error).removeprefix(f'{op.name}: ')}") from None
    tensor = type(inputs[0]) if inputs else Node
    return tensor(op, tuple(inputs), shape, dtype, attributes, current_scope())


def _where() -> str:
    return f" in {current_scope()}" if current_scope() else ""


def _run(op: Record, operands: tuple[Value, ...], attributes: dict[str, Any]) -> Any:
    """The value itself, by NumPy: numbers that overflow or are not numbers stay so, without warnings."""
    free = _free(op, operands)
    arrays = [np.asarray(x) for x in operands[:free]]
    if free < len(operands):
        dtype = _common([_kind(x) for x in operands[free:]], op)
        arrays += [_converted(x, dtype) for x in operands[free:]]
    with np.errstate(all="ignore"):
        return op.forward(*arrays, **attributes)


def _uniform(op: Record, operands: tuple[Value, ...]) -> list[Node]:
    """The operands as nodes: of one type, but for those that the op takes as they are."""
    tensor = type(next(x for x in operands if isinstance(x, Node)))
    free = _free(op, operands)
    nodes = [x if isinstance(x, Node) else _constant(tensor, np.asarray(x)) for x in operands[:free]]
    if free < len(operands):
        dtype = _common([_kind(x) for x in operands[free:]], op)
        nodes += [_as(tensor, x, dtype) for x in operands[free:]]
    return nodes


def _free(op: Record, operands: tuple[Value, ...]) -> int:
    """How many of the first operands keep the type they have."""
    return {"mixed": len(operands), "choice": 1}.get(op.takes, 0)


def _kind(value: Value) -> DType | float:
    """The dtype of a value, or the value itself where it is a plain number that adapts to the others."""
    return value if isinstance(value, (bool, int, float)) else _dtype(value)


def _dtype(value: Value) -> DType:
    return allowed(value.dtype if isinstance(value, Node) else np.asarray(value).dtype)


def allowed(dtype: DType) -> DType:
    """`dtype`, if operations take it.

    Raises:
        ShapeError: they do not.
    """
    if dtype not in _ALLOWED:
        raise ShapeError(f"a value of type {dtype}: operations take float32, float64, int64, int32 and booleans")
    return dtype


def _common(kinds: list[DType | float], op: Record) -> DType:
    """The one type in which `op` works: the widest float among arrays; whole numbers never widen a float."""
    dtypes = [kind for kind in kinds if isinstance(kind, np.dtype)]
    floats = [dtype for dtype in dtypes if dtype.kind == "f"]
    if floats:
        return np.result_type(*floats)
    if op.takes == "real" or any(isinstance(kind, float) for kind in kinds):
        return FLOAT64
    if all(dtype == BOOL for dtype in dtypes):
        counting = any(isinstance(kind, int) and not isinstance(kind, bool) for kind in kinds)
        return INT64 if counting or op.takes == "number" else BOOL
    return np.result_type(*dtypes)


def _as(tensor: type[Node], value: Value, dtype: DType) -> Node:
    if not isinstance(value, Node):
        return _constant(tensor, _converted(value, dtype))
    if value.dtype == dtype:
        return value
    return tensor(CAST, (value,), value.shape, dtype, {"dtype": dtype}, current_scope())


def _converted(value: Value, dtype: DType) -> np.ndarray[Any, Any]:
    """`value` as an array; a number too large for the type is infinite in it, without a warning."""
    with np.errstate(over="ignore"):
        return np.asarray(value, dtype)


def _constant(tensor: type[Node], value: np.ndarray[Any, Any]) -> Node:
    value = np.array(value, dtype=_dtype(value))
    value.flags.writeable = False
    return tensor(CONSTANT, (), value.shape, value.dtype, {"value": value}, current_scope())


def cast(x: Value, dtype: Any) -> Any:
    """`x` with elements of another type. The error flows back through it in the type of `x`."""
    dtype = allowed(np.dtype(dtype))
    if isinstance(x, Node) and x.dtype == dtype:
        return x
    return apply(CAST, x, dtype=dtype)


def _cast_samples(rng: "np.random.Generator") -> list[Case]:
    return [
        Case((rng.normal(size=shape),), {"dtype": np.dtype(name)})
        for shape in [(3, 2), (0,), (1,), ()]
        for name in ("float64", "float32", "int64")
    ]


CONSTANT = Source(name="constant", forward=lambda *, value: value)
CAST = Pointwise(
    name="cast",
    forward=lambda x, *, dtype: np.asarray(x).astype(dtype),
    derivative=lambda dy, y, x, *, dtype: (cast(dy, x.dtype),),
    result="attribute",
    transparent=True,
    takes="mixed",
    lower=lambda e, x, *, dtype: e.cast(x, dtype),
    samples=_cast_samples,
)
