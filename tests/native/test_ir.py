"""What a writer of IR knows without asking the machine."""

import ctypes

import pytest

from backpass.native.engine import compile_text, load
from backpass.native.ir import F32, F64, I64, Module, define
from backpass.native.target import host

NUMBERS = (-3, 0, 2, 7)
RELATIONS = ("lt", "le", "eq", "ne", "gt", "ge")


def run(write, result=I64):
    """What a function that `write` fills returns, and its text."""
    module = Module()
    b, _ = define(module, "function", [], result, internal=False)
    b.ret(write(b))
    library = load(compile_text(module.text(), host()))
    kind = ctypes.c_int64 if result == I64 else ctypes.c_double
    return ctypes.CFUNCTYPE(kind)(library.address("function"))(), module.text()


@pytest.mark.parametrize("relation", RELATIONS)
def test_what_is_compared_when_it_is_written_is_what_the_machine_compares(relation):
    """Known numbers leave no comparison behind; the machine, which gets them through memory, finds the same."""

    def write(b, *, hide):
        total = b.i64(0)
        for i, x in enumerate(NUMBERS):
            for j, y in enumerate(NUMBERS):
                x_here = b.i64(x)
                if hide:
                    memory = b.reserve(I64, 1)
                    b.store(x_here, memory)
                    x_here = b.load(I64, memory)
                bit = b.select(b.compare(relation, x_here, y), b.i64(1 << (4 * i + j)), b.i64(0))
                total = b.add(total, bit)
        return total

    known, text = run(lambda b: write(b, hide=False))
    asked, other = run(lambda b: write(b, hide=True))
    assert known == asked
    assert ("icmp" in text, "icmp" in other) == (False, True)


def test_a_condition_that_holds_leaves_no_branch_and_one_that_does_not_runs_nothing():
    def write(b):
        memory = b.reserve(I64, 1)
        b.store(b.i64(5), memory)
        with b.when(b.compare("lt", b.i64(1), 2)):
            b.store(b.i64(6), memory)
        return b.load(I64, memory)

    found, text = run(write)
    assert (found, "br " in text) == (6, False)

    def never(b):
        memory = b.reserve(I64, 1)
        b.store(b.i64(5), memory)
        with b.when(b.compare("lt", b.i64(2), 1)), b.loop(0, 3):
            b.store(b.i64(6), memory)
        with b.loop(4, 4):
            b.store(b.i64(7), memory)
        return b.load(I64, memory)

    assert run(never)[0] == 5


@pytest.mark.parametrize("number", [-(1 << 24), -1, 0, 3, 1 << 24, (1 << 24) + 1, (1 << 53) + 1])
@pytest.mark.parametrize("type_", [F32, F64])
def test_a_known_whole_number_becomes_the_nearest_float(type_, number):
    found, _ = run(lambda b: b.convert(b.convert(b.i64(number), type_), F64), F64)
    assert found == (ctypes.c_float(number).value if type_ == F32 else float(number))
