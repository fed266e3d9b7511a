"""What each operation means. Functions written with these can be traced, run, differentiated and compiled.

On numbers and NumPy arrays they calculate at once; on Tensors, inside a function that is being traced, they build
the graph.
"""

from backpass.ops.activation import relu, sigmoid, softplus, tanh
from backpass.ops.apply import apply, cast
from backpass.ops.arithmetic import absolute, clip, floor, maximum, minimum, sign, where
from backpass.ops.comparison import (
    equal,
    greater,
    greater_equal,
    is_finite,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    not_equal,
)
from backpass.ops.contraction import einsum, matmul
from backpass.ops.elementary import arctan, cos, exp, expm1, log, log1p, power, sin, sqrt, square, tan
from backpass.ops.erf import erf
from backpass.ops.gradient_flow import identity, stop_gradient
from backpass.ops.lookup import gather, one_hot, scatter_add
from backpass.ops.movement import broadcast_to, concatenate, flip, pad, reshape, stack, transpose
from backpass.ops.random import Key, bernoulli, normal, permutation, uniform
from backpass.ops.reduction import argmax, log_softmax, log_sum_exp, max, mean, min, softmax, sum  # noqa: A004
from backpass.ops.tensor import Tensor, constant, new_input

__all__ = [
    "Key",
    "Tensor",
    "absolute",
    "apply",
    "arctan",
    "argmax",
    "bernoulli",
    "broadcast_to",
    "cast",
    "clip",
    "concatenate",
    "constant",
    "cos",
    "einsum",
    "equal",
    "erf",
    "exp",
    "expm1",
    "flip",
    "floor",
    "gather",
    "greater",
    "greater_equal",
    "identity",
    "is_finite",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log_softmax",
    "log_sum_exp",
    "logical_and",
    "logical_not",
    "logical_or",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "new_input",
    "normal",
    "not_equal",
    "one_hot",
    "pad",
    "permutation",
    "power",
    "relu",
    "reshape",
    "scatter_add",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "softplus",
    "sqrt",
    "square",
    "stack",
    "stop_gradient",
    "sum",
    "tan",
    "tanh",
    "transpose",
    "uniform",
    "where",
]
