"""Random graphs over the whole catalogue, with batch axes anywhere, in four types; from a list of whole numbers.

Two kinds, so that the two executors can be held to each other strictly. In an "exact" graph all numbers stay small
halves, which any order of additions gives to the bit, and comparisons and places of maxima are safe. In a "smooth"
graph every function is smooth and no number grows far, so that rounding stays rounding.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from backpass import ops
from backpass.errors import ShapeError
from backpass.forward import Spec, trace
from backpass.graph import BATCH, Batch
from backpass.graph import size as row_size
from backpass.ops import Key

SIZES = (1, 2, 3, 5, 7, 16, 17, 33)
MOST_NUMBERS = 3000
FLOATS = ("float64", "float32")


@dataclass(frozen=True)
class Program:
    """A traced function, and what to call it with: `inputs(rows, rng)`."""

    graph: object
    inputs: object
    exact: bool
    chosen: list[str]


class Choices:
    """Whole numbers that decide one thing after another; 0 for ever once they are used up."""

    def __init__(self, numbers):
        self._numbers = iter(numbers)

    def below(self, count):
        return next(self._numbers, 0) % max(1, count)

    def of(self, options):
        return options[self.below(len(options))]

    def flag(self, one_in=2):
        return self.below(one_in) == 1


def made(numbers, *, steps, exact):
    """The program of a list of numbers: `steps` operations, one on top of the other."""
    choices = Choices(numbers)
    specs = [_spec(choices, exact) for _ in range(1 + choices.below(4))]
    chosen = []

    def function(moment, *inputs):
        maker = _Maker(choices, exact, moment)
        values = list(inputs)
        for _ in range(steps):
            name, value = maker.step(values)
            if value is not None and row_size(value.shape) <= MOST_NUMBERS and value.ndim <= 5:
                chosen.append(f"{name} -> {value.dtype}{list(value.shape)}")
                values.append(value)
        kept = [values[-1 - choices.below(min(4, len(values)))] for _ in range(1 + choices.below(3))]
        return [values[-1], *kept]

    graph = trace(function, Spec((2,), np.int64), *specs).graph

    def inputs(rows, rng):
        return [np.array([3, 5]), *(_drawn(spec, rows, rng, exact=exact) for spec in specs)]

    return Program(graph, inputs, exact, chosen)


def _spec(choices, exact):
    rank = choices.of((2, 2, 1, 3, 0, 4))
    shape = [choices.of(SIZES if rank < 4 else SIZES[:4]) for _ in range(rank)]
    if rank and not choices.flag(3):
        shape[choices.of((0, 0, 0, choices.below(rank)))] = BATCH
        if rank > 1 and choices.flag(12):
            shape[-1] = BATCH
    dtype = choices.of(("float64", "float32", "float64", "float32", "int64", "bool")) if exact else choices.of(FLOATS)
    return Spec(tuple(shape), np.dtype(dtype))


def _drawn(spec, rows, rng, *, exact):
    shape = tuple(rows if isinstance(axis, Batch) else axis for axis in spec.shape)
    if spec.dtype == np.bool_:
        return rng.random(shape) < 0.5
    if spec.dtype.kind == "i":
        return rng.integers(-4, 5, shape)
    if exact:
        return (rng.integers(-8, 9, shape) / 2).astype(spec.dtype)
    return rng.uniform(-1, 1, shape).astype(spec.dtype)


class _Maker:
    """Makes one operation after another of what is there."""

    def __init__(self, choices, exact, moment):
        self.c = choices
        self.exact = exact
        self.moment = moment
        self.stream = 0

    def step(self, values):
        # The newest values are used most, so that chains grow; older ones now and then.
        c = self.c
        x = values[-1 - c.below(min(4, len(values)))]
        y = values[c.below(len(values))]
        kind = c.of((*["pointwise"] * 3, *["binary"] * 3, "move", "move", "move", "reduce", "reduce", *KINDS))
        try:
            return kind, getattr(self, kind)(x, y)
        except ShapeError:
            return kind, None

    # Elementwise

    def pointwise(self, x, y):
        del y
        if x.dtype.kind != "f":
            choices = (
                [ops.logical_not, lambda v: ops.cast(v, np.int64), lambda v: ops.cast(v, np.float32)]
                if x.dtype == np.bool_
                else [lambda v: -v, abs, ops.sign, lambda v: ops.cast(v, np.float64), lambda v: ops.cast(v, np.bool_)]
            )
            return self.c.of(choices)(x)
        return self.c.of(EXACT_ONE if self.exact else SMOOTH_ONE)(x)

    def binary(self, x, y):
        fitted = self._fitted(x, y)
        if self.exact:
            function = self.c.of(EXACT_TWO)
            return self._small(function(x, fitted))
        return self.c.of(SMOOTH_TWO)(x, fitted)

    def _fitted(self, x, y):
        """Something that stretches along `x`: `y` where it does."""
        try:
            x + y  # only to see whether it can be written
        except ShapeError:
            axes = [axis for axis in range(x.ndim) if self.c.flag()]
            return self._mean(x, axes)
        return y

    def _mean(self, x, axes):
        if not axes:
            return x
        return ops.max(x, axes, keepdims=True) if self.exact else ops.mean(x, axes, keepdims=True)

    def _small(self, x):
        """Small halves again."""
        if x.dtype == np.bool_:
            return x
        if x.dtype.kind == "i":
            return ops.minimum(ops.maximum(x, -50), 50)
        return ops.clip(ops.floor(x * 2.0) * 0.5, -64.0, 64.0)

    # Movements

    def move(self, x, y):
        c = self.c
        kind = c.of(("transpose", "reshape", "slice", "pad", "flip", "concatenate", "broadcast", "stack", "new axis"))
        match kind:
            case "transpose":
                return ops.transpose(x, self._order(x.ndim))
            case "reshape":
                return self._reshaped(x)
            case "slice":
                return x[tuple(self._span(axis) for axis in x.shape)]
            case "pad":
                return ops.pad(x, [None if isinstance(axis, Batch) else self._margin() for axis in x.shape])
            case "flip":
                return ops.flip(x, c.below(x.ndim)) if x.ndim else x
            case "concatenate":
                other = y if c.flag() and y.dtype == x.dtype else ops.flip(x, 0) if x.ndim else x
                return ops.concatenate([x, other, x][: 2 + c.below(2)], c.below(x.ndim)) if x.ndim else x
            case "broadcast":
                return ops.broadcast_to(x, (c.of((2, 3)), *x.shape))
            case "stack":
                return ops.stack([x, self.pointwise(x, x) if x.dtype.kind == "f" else x], c.below(x.ndim + 1))
            case _:
                shape = list(x.shape)
                shape.insert(c.below(x.ndim + 1), 1)
                return ops.reshape(x, shape)

    def _order(self, rank):
        left, order = list(range(rank)), []
        while left:
            order.append(left.pop(self.c.below(len(left))))
        return order

    def _reshaped(self, x):
        """Neighbouring axes merged, and an axis cut; the batch stays where it is."""
        shape = list(x.shape)
        for place in range(len(shape) - 1):
            if not isinstance(shape[place], Batch) and not isinstance(shape[place + 1], Batch) and self.c.flag():
                shape[place : place + 2] = [shape[place] * shape[place + 1]]
                break
        for place, axis in enumerate(shape):
            divisor = next((d for d in (2, 3, 5) if not isinstance(axis, Batch) and axis % d == 0), None)
            if divisor and axis and self.c.flag():
                shape[place : place + 1] = [divisor, axis // divisor]
                break
        return ops.reshape(x, shape)

    def _span(self, axis):
        if isinstance(axis, Batch) or self.c.flag():
            return slice(None)
        first = self.c.below(axis)
        step = self.c.of((1, 1, 2, 3, -1))
        return slice(first, None, step) if step > 0 else slice(None, first or None, step)

    def _margin(self):
        return self.c.of(((0, 0, 0), (1, 0, 0), (0, 2, 0), (2, 1, 1), (0, 0, 2)))

    # Reductions, products, lookups, random numbers

    def reduce(self, x, y):
        del y
        axes = [axis for axis in range(x.ndim) if self.c.flag()]
        keep = self.c.flag()
        if self.exact:
            if self.c.flag(4) and x.ndim:
                return ops.argmax(x, self.c.below(x.ndim))
            if self.c.flag():
                return ops.max(x, axes, keepdims=keep)
            if x.dtype == np.bool_:
                x = ops.cast(x, np.int64)
            return self._small(ops.sum(x, axes, keepdims=keep))
        if self.c.flag(3):
            return ops.log_sum_exp(x, axes, keepdims=keep) * 0.2
        return ops.mean(x, axes, keepdims=keep)

    def contract(self, x, y):
        """Summed over what they share, as it happens to fit."""
        x, y = (self._numbers(value) for value in (x, y))
        if x.dtype != y.dtype:
            y = ops.cast(y, x.dtype)
        letters = "abcdefgh"
        in_x = letters[: x.ndim]
        in_y, fresh, used = "", iter("stuvw"), set()
        for axis in y.shape:
            same = [c for c, own in zip(in_x, x.shape, strict=True) if own == axis and c not in used]
            letter = self.c.of(same) if same and not self.c.flag(4) else next(fresh)
            used.add(letter)
            in_y += letter
        shared = [c for c in in_x if c in in_y]
        summed = [c for c in shared if not self.c.flag(3)]
        out = [c for c in dict.fromkeys(in_x + in_y) if c not in summed]
        out = "".join(out[place] for place in self._order(len(out)))
        result = ops.einsum(f"{in_x},{in_y}->{out}", x, y)
        if self.exact:
            return self._small(result)
        length = prod(x.shape[in_x.index(c)] for c in summed if not isinstance(x.shape[in_x.index(c)], Batch))
        batch = any(isinstance(x.shape[in_x.index(c)], Batch) for c in summed)
        return ops.tanh(result / float(max(1, length)) / (16.0 if batch else 1.0))

    def _numbers(self, x):
        return ops.cast(x, np.float64) if x.dtype == np.bool_ else x

    def dense(self, x, y):
        """As a layer does it: rows times a matrix of weights, either way round."""
        del y
        x = ops.cast(x, np.float32) if x.dtype.kind != "f" else x
        if x.ndim != 2 or isinstance(x.shape[1], Batch):
            raise ShapeError("no matrix")
        units = self.c.of(SIZES)
        grid = np.arange(x.shape[1] * units) % 7 - 3
        weights = ops.cast(ops.constant(grid.reshape(x.shape[1], units) / (2.0 if self.exact else 9.0)), x.dtype)
        turned = self.c.flag()
        result = ops.einsum("ik,jk->ij", x, ops.transpose(weights)) if turned else x @ weights
        return self._small(result) if self.exact else ops.tanh(result)

    def lookup(self, x, y):
        if not x.ndim or isinstance(x.shape[0], Batch) or x.shape[0] == 0:
            raise ShapeError("no table")
        length = x.shape[0]
        if self.c.flag(3):
            return ops.gather(x, ops.constant(np.arange(5) * 3 % length))
        index = ops.cast(ops.floor(ops.clip(ops.cast(y, np.float64) * 2.0, 0.0, length - 1.0)), np.int64)
        if not self.exact:  # places must not hang on rounding
            index = ops.argmax(ops.cast(y, np.float32) * 0.0, 0) if y.ndim else ops.constant(np.int64(0))
            index = ops.cast(index * 0, np.int64)
        if self.c.flag(4):
            return ops.one_hot(index, 5, x.dtype if x.dtype.kind == "f" else np.float64)
        return ops.gather(x, index)

    def scatter(self, x, y):
        del y
        if not x.ndim or x.dtype.kind != "f":
            raise ShapeError("nothing to add up")
        depth = 1 + self.c.below(min(2, x.ndim))
        index = ops.sum(ops.broadcast_to(ops.constant(np.int64(0)), x.shape[:depth]) + 2, [])
        if self.exact:
            index = ops.cast(ops.clip(ops.floor(ops.max(x, range(depth, x.ndim))), 0.0, 4.0), np.int64)
        result = ops.scatter_add(x, index, 5)
        return self._small(result) if self.exact else ops.tanh(result * 0.1)

    def random(self, x, y):
        del y
        if BATCH in x.shape[1:]:
            raise ShapeError("rows come first")
        self.stream += 1
        dtype = np.dtype(self.c.of(FLOATS))
        key = Key(self.moment).fold(f"stream {self.stream}")
        if self.exact or self.c.flag():
            kept = ops.bernoulli(key, 0.7, x.shape, dtype)
            return kept * ops.cast(x, dtype) if self.c.flag() else kept
        return ops.uniform(key, x.shape, dtype)

    def rows(self, x, y):
        """With the number of rows in it."""
        del y
        if self.exact or BATCH not in x.shape:
            raise ShapeError("no rows")
        return ops.mean(x, 0, keepdims=True) + ops.cast(x, x.dtype)


KINDS = ("contract", "dense", "dense", "lookup", "scatter", "random", "rows")

EXACT_ONE = [
    lambda x: -x,
    abs,
    ops.sign,
    ops.floor,
    ops.relu,
    ops.identity,
    ops.stop_gradient,
    ops.is_finite,
    lambda x: x > 0.5,
    lambda x: ops.equal(x, ops.floor(x)),
    lambda x: ops.cast(x, np.int64),
    lambda x: ops.cast(x, np.float32),
    lambda x: ops.cast(x, np.float64),
    lambda x: x * 0.5 + 0.25 - 0.25,
    lambda x: ops.where(x < 0, x, 1.5),
    lambda x: ops.sqrt(ops.floor(abs(x)) * ops.floor(abs(x))),
]
EXACT_TWO = [
    lambda a, b: a + b,
    lambda a, b: _plain(a) - _plain(b),
    lambda a, b: a * b,
    ops.maximum,
    lambda a, b: ops.minimum(b, a),
    lambda a, b: ops.where(a < b, b, a),
    lambda a, b: ops.logical_and(a <= b, ops.not_equal(a, b)),
    lambda a, b: ops.logical_or(a > b, ops.equal(a, b)),
    lambda a, b: ops.where(ops.cast(a, np.bool_), b, 2.5 if b.dtype.kind == "f" else b),
]
SMOOTH_ONE = [
    lambda x: -x,
    ops.tanh,
    ops.sigmoid,
    ops.erf,
    ops.sin,
    ops.cos,
    ops.arctan,
    lambda x: ops.softplus(x) - 0.7,
    lambda x: ops.exp(x) * 0.3,
    lambda x: ops.expm1(x) * 0.5,
    lambda x: ops.log(x * x + 0.5),
    lambda x: ops.log1p(x * x),
    lambda x: ops.sqrt(x * x + 0.1),
    lambda x: ops.power(x * x + 0.1, 0.3),
    lambda x: ops.tan(ops.tanh(x)),
    lambda x: 1.0 / (1.5 + x * x),
    lambda x: ops.softmax(x, -1) if x.ndim else x,
    lambda x: ops.cast(x, np.float32),
    lambda x: ops.cast(x, np.float64),
    ops.relu,
    abs,
]
SMOOTH_TWO = [
    lambda a, b: (a + b) * 0.6,
    lambda a, b: a * 0.7 - b * 0.4,
    lambda a, b: ops.tanh(a * b),
    lambda a, b: a / (1.5 + b * b),
    ops.maximum,
    ops.minimum,
]


def _plain(x):
    return ops.cast(x, np.int64) if x.dtype == np.bool_ else x
