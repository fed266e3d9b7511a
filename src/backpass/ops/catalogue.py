"""Every operation there is. One that stands here is under every test of operations."""

from backpass.ops.activation import RELU, SIGMOID, SOFTPLUS, TANH
from backpass.ops.apply import CAST
from backpass.ops.arithmetic import (
    ABSOLUTE,
    ADD,
    DIVIDE,
    FLOOR,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATIVE,
    SIGN,
    SUBTRACT,
    WHERE,
)
from backpass.ops.comparison import AND, EQUAL, IS_FINITE, LESS, LESS_EQUAL, NOT, NOT_EQUAL, OR
from backpass.ops.contraction import CONTRACT
from backpass.ops.elementary import ARCTAN, COS, EXP, EXPM1, LOG, LOG1P, POWER, SIN, SQRT, TAN
from backpass.ops.erf import ERF
from backpass.ops.gradient_flow import IDENTITY, STOP
from backpass.ops.kinds import Record
from backpass.ops.lookup import GATHER, ONE_HOT, SCATTER_ADD
from backpass.ops.movement import BROADCAST, CONCATENATE, FLIP, PAD, RESHAPE, SLICE, TRANSPOSE
from backpass.ops.random import BERNOULLI, UNIFORM
from backpass.ops.reduction import ARGMAX, LOG_SUM_EXP, MAX, SUM

CATALOGUE: tuple[Record, ...] = (
    *(ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATIVE, ABSOLUTE, SIGN, FLOOR, MAXIMUM, MINIMUM, WHERE),
    *(LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, AND, OR, NOT, IS_FINITE),
    *(EXP, EXPM1, LOG, LOG1P, SQRT, POWER, SIN, COS, TAN, ARCTAN, ERF),
    *(SIGMOID, TANH, SOFTPLUS, RELU),
    *(SUM, MAX, LOG_SUM_EXP, ARGMAX),
    *(RESHAPE, TRANSPOSE, BROADCAST, SLICE, PAD, FLIP, CONCATENATE),
    *(CONTRACT,),
    *(GATHER, SCATTER_ADD, ONE_HOT),
    *(UNIFORM, BERNOULLI),
    *(CAST, IDENTITY, STOP),
)
