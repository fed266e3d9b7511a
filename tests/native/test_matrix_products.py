"""Matrix products of the native executor: right, and the same bits however the work is cut."""

import ctypes
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.native import engine, target
from backpass.native.ir import F32, F64, I64, PTR, Module, define
from backpass.native.rows_product import RowsTiling, rows_product, rows_scratch_bytes, rows_tiling
from backpass.native.tiles import Panels, Rows, padded_stride, panel_vectors, transpose_tile
from backpass.native.weights_product import (
    WeightsTiling,
    scratch_bytes,
    weights_product,
    weights_tiling,
    weights_units,
)

DTYPES = {F32: np.float32, F64: np.float64}
TOLERANCE = {F32: 2e-6, F64: 2e-15}
MORE_ROWS = 32  # of buffers, into which tiles may reach


def _targets():
    """Those of this architecture whose code runs here."""
    here = target.host()
    names = ["arm64"] if here.is_arm else ["sse2", "avx2", "avx512"]
    there = set(here.features.split(","))
    return [pytest.param(target.named(x), id=x) for x in names if set(target.named(x).features.split(",")) <= there]


every_target = pytest.mark.parametrize("machine", _targets())


def _aligned(shape, dtype):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class Compiled:
    """A function of `pointers` arrays and some whole numbers, written by `write(builder, arguments)`."""

    def __init__(self, machine, pointers, numbers, write):
        module = Module()
        arguments = [*((f"p{i}", PTR) for i in range(pointers)), *((f"n{i}", I64) for i in range(numbers))]
        b, values = define(module, "product", arguments, fused=machine.fused)
        b.function.internal = False
        write(b, list(values))
        b.ret()
        self.library = engine.load(engine.compile_text(module.text(), machine))
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * numbers)
        self.function = kind(self.library.address("product"))

    def __call__(self, *arguments):
        self.function(*(x.ctypes.data if isinstance(x, np.ndarray) else x for x in arguments))


def _buffer(matrix, panels, dtype, fill=np.nan):
    """`matrix` with padded rows and columns, which hold `fill`."""
    rows, columns = matrix.shape
    buffer = _aligned((rows + MORE_ROWS, padded_stride(columns, panels)), dtype)
    buffer[:] = fill
    buffer[:rows, :columns] = matrix
    return buffer


def _rows(machine, A, W, type_, vectors, tiling, ranges, start=None, wanted=None):
    """A W by `rows_product`, range after range; or A W + start, in the panels `wanted`, and infinity in the others."""
    (n, depth), columns = A.shape, W.shape[1]
    panels = Panels(type_, machine.lanes(type_), vectors, depth, columns)
    a = _buffer(A, panels, DTYPES[type_])
    stride = padded_stride(panels.count * panels.width, panels)
    result = _aligned((n + MORE_ROWS, stride), DTYPES[type_])
    result[:] = np.inf

    def write(b, values):
        pa, pw, pc, scratch, row, begin, end = values

        def finish(row, column, tile):
            at = b.offset(pc, b.add(b.mul(row, stride), column), type_)
            for r, line in enumerate(tile):
                for v, value in enumerate(line):
                    b.store(value, at, r * stride + v * panels.lanes)

        onto = None if start is None else row
        rows = Rows(pa, a.shape[1])
        rows_product(b, rows, pw, panels, begin, end, tiling, finish, scratch=scratch, wanted=wanted, onto=onto)

    product = Compiled(machine, 5, 2, write)
    row = _aligned(panels.count * panels.width, DTYPES[type_])
    row[:columns] = 0 if start is None else start
    packed = _aligned(panels.size, DTYPES[type_])
    packed[:] = panels.pack(W)
    room = rows_scratch_bytes(panels, tiling)
    scratch = _aligned(room + 64, np.uint8)
    scratch[:] = 77
    for begin, end in ranges:
        product(a, packed, result, scratch, row, begin, end)
    assert (scratch[room:] == 77).all()
    return result[:n, :columns].copy()


def _weights(machine, X, E, type_, vectors, tiling, cuts):
    """2 XᵀE by `weights_product`: each tile is added to what was there, so that one done twice would show."""
    (n, depth), columns = X.shape, E.shape[1]
    panels = Panels(type_, machine.lanes(type_), vectors, depth, columns)
    x = _buffer(X, panels, DTYPES[type_])
    e = _aligned((n, padded_stride(panels.count * panels.width, panels)), DTYPES[type_])
    e[:, :columns] = E

    def write(b, values):
        px, pe, pd, scratch, count, begin, end = values

        def finish(k, column, tile):
            first = b.add(b.mul(b.div(column, panels.width), panels.stride), b.mul(k, panels.width))
            at = b.offset(pd, first, type_)
            for r, line in enumerate(tile):
                for v, value in enumerate(line):
                    place = r * panels.width + v * panels.lanes
                    b.store(b.add(b.add(value, value), b.load(value.type, at, place)), at, place)

        rows = (Rows(px, x.shape[1]), Rows(pe, e.shape[1]))
        weights_product(b, *rows, panels, count, begin, end, tiling, finish, scratch, [pd])

    product = Compiled(machine, 4, 3, write)
    result = _aligned(panels.size, DTYPES[type_])
    room = scratch_bytes(panels, tiling)
    scratch = _aligned(room + 64, np.uint8)
    scratch[:] = 77
    units = weights_units(panels, tiling)
    marks = [0, *sorted(cut % (units + 1) for cut in cuts), units]
    for begin, end in pairwise(marks):
        product(x, e, result, scratch, n, begin, end)
    assert (scratch[room:] == 77).all()
    return panels.unpack(result)


def _close(found, exact, scale, type_):
    np.testing.assert_array_less(np.abs(found - exact), TOLERANCE[type_] * (scale + 1e-3))


sizes = {"n": st.integers(1, 40), "depth": st.integers(1, 40), "columns": st.integers(1, 120)}
matmul_settings = settings(max_examples=15, deadline=None)


@every_target
@given(**sizes, type_=st.sampled_from([F32, F64]), threads=st.integers(1, 3), seed=st.integers(0, 99))
@matmul_settings
def test_products_with_the_chosen_tilings_are_those_of_numpy(machine, n, depth, columns, type_, threads, seed):
    rng = np.random.default_rng(seed)
    A, W, E = (rng.normal(size=x).astype(DTYPES[type_]) for x in ((n, depth), (depth, columns), (n, columns)))
    vectors = panel_vectors(machine, type_, columns)
    panels = Panels(type_, machine.lanes(type_), vectors, depth, columns)
    wide = [x.astype(np.longdouble if type_ == F64 else np.float64) for x in (A, W, E)]

    found = _rows(machine, A, W, type_, vectors, rows_tiling(machine, panels, n, threads), [(0, n)])
    _close(found, wide[0] @ wide[1], np.abs(wide[0]) @ np.abs(wide[1]), type_)

    found = _weights(machine, A, E, type_, vectors, weights_tiling(machine, panels, n), [])
    _close(found, 2 * wide[0].T @ wide[2], 2 * np.abs(wide[0]).T @ np.abs(wide[2]), type_)


@every_target
@given(
    **sizes,
    rows=st.integers(1, 12),
    vectors=st.integers(1, 3),
    blocks=st.integers(1, 3),
    part=st.sampled_from([0, 8, 16, 24]),
    data=st.data(),
)
@matmul_settings
def test_rows_product_has_the_same_bits_however_it_is_cut(
    machine, n, depth, columns, rows, vectors, blocks, part, data
):
    rng = np.random.default_rng(n)
    A, W = (rng.normal(size=x).astype(np.float32) for x in ((n, depth), (depth, columns)))
    cut = data.draw(st.integers(0, n))
    one = _rows(machine, A, W, F32, 1, RowsTiling(1, n), [(0, n)])
    tiling = RowsTiling(rows, rows * blocks, blocks, blocks - 1, part)
    other = _rows(machine, A, W, F32, vectors, tiling, [(cut, n), (0, cut)])
    np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


@every_target
@given(**sizes, rows=st.integers(1, 8), vectors=st.integers(1, 3), together=st.integers(1, 2), data=st.data())
@matmul_settings
def test_rows_begin_with_what_is_given_and_panels_that_nobody_wants_are_left(
    machine, n, depth, columns, rows, vectors, together, data
):
    rng = np.random.default_rng(n)
    A, W, start = (rng.normal(size=x).astype(np.float32) for x in ((n, depth), (depth, columns), columns))
    panels = Panels(F32, machine.lanes(F32), vectors, depth, columns)
    bounds = sorted(data.draw(st.lists(st.integers(0, panels.count), min_size=2, max_size=4)))
    wanted = [range(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=False) if pair[0] < pair[1]]
    tiling = RowsTiling(rows, rows, together)
    whole = _rows(machine, A, W, F32, vectors, tiling, [(0, n)], start)
    _close(whole, A.astype(float) @ W + start, np.abs(A) @ np.abs(W) + np.abs(start), F32)
    found = _rows(machine, A, W, F32, vectors, tiling, [(0, n)], start, wanted)
    columns_wanted = [
        column for run in wanted for panel in run for column in range(columns) if column // panels.width == panel
    ]
    np.testing.assert_array_equal(found[:, columns_wanted], whole[:, columns_wanted])
    assert np.isinf(np.delete(found, columns_wanted, axis=1)).all()


@every_target
@given(
    **sizes,
    rows=st.sampled_from([1, 2, 4, 5, 8, 16]),
    vectors=st.integers(1, 3),
    blocks=st.integers(1, 3),
    room=st.sampled_from([0, 40, 41]),
    part=st.sampled_from([0, 1, 8, 16]),
    cuts=st.lists(st.integers(0, 200), max_size=3),
)
@matmul_settings
def test_weights_product_has_the_same_bits_however_it_is_cut(
    machine, n, depth, columns, rows, vectors, blocks, room, part, cuts
):
    rng = np.random.default_rng(n)
    X, E = (rng.normal(size=x).astype(np.float32) for x in ((n, depth), (n, columns)))
    one = _weights(machine, X, E, F32, 1, WeightsTiling(1, 1), [])
    other = _weights(machine, X, E, F32, vectors, WeightsTiling(rows, rows * blocks, room, part), cuts)
    np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


def test_sums_that_are_cut_cannot_begin_with_a_matrix():
    def write(b, values):
        panels, tiling = Panels(F32, 4, 1, 8, 4), WeightsTiling(4, 8, depth=8)
        rows = Rows(values[0], 16)
        weights_product(b, rows, rows, panels, 40, values[1], values[1], tiling, print, onto=values[0])

    with pytest.raises(ValueError, match="begin with zeros"):
        Compiled(target.named("sse2"), 1, 1, write)


@every_target
@pytest.mark.parametrize("type_", [F32, F64])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 8, 13, 16, 26])
def test_a_transposed_tile_holds_for_each_column_its_rows(machine, type_, height):
    lanes = machine.lanes(type_)
    numbers = np.arange(height * 2 * lanes).astype(DTYPES[type_])

    def write(b, values):
        source, target_ = values
        vector = type_.vector(lanes)
        tile = [[b.load(vector, source, (2 * r + v) * lanes) for v in range(2)] for r in range(height)]
        for j, column in enumerate(transpose_tile(b, tile)):
            b.store(column, target_, j * height)

    result = np.zeros_like(numbers)
    Compiled(machine, 2, 0, write)(numbers, result)
    np.testing.assert_array_equal(result.reshape(2 * lanes, height), numbers.reshape(height, 2 * lanes).T)


@given(depth=st.integers(1, 50), columns=st.integers(1, 200), vectors=st.integers(1, 4))
def test_panels_give_back_the_matrix_that_was_packed(depth, columns, vectors):
    panels = Panels(F32, 8, vectors, depth, columns)
    matrix = np.arange(depth * columns, dtype=np.float32).reshape(depth, columns)
    packed = panels.pack(matrix)
    assert packed.shape == (panels.size,)
    np.testing.assert_array_equal(panels.unpack(packed), matrix)
    k, j = depth - 1, columns - 1
    assert packed[j // panels.width * panels.stride + k * panels.width + j % panels.width] == matrix[k, j]


@pytest.mark.parametrize("name", ["sse2", "avx2", "avx512", "arm64"])
@given(rows=st.integers(1, 600), columns=st.integers(1, 600), depth=st.integers(1, 600), threads=st.integers(1, 4))
def test_tilings_keep_their_sums_in_registers_and_waste_few_rows(name, rows, columns, depth, threads):
    machine = target.named(name)
    panels = Panels(F32, machine.lanes(F32), panel_vectors(machine, F32, columns), depth, columns)
    tiling = rows_tiling(machine, panels, rows, threads)
    weights = weights_tiling(machine, panels, rows)
    for height in (tiling.rows, weights.rows):
        assert height * panels.vectors + panels.vectors + 1 <= machine.registers
    lanes = 1 if threads == 1 else panels.lanes  # threads get rows in multiples of a vector
    own = min(rows, -(-rows // (threads * lanes)) * lanes)
    assert -(-own // tiling.rows) * tiling.rows <= 1.25 * own
    assert tiling.block % tiling.rows == 0
    assert weights.block % weights.rows == 0
    assert not (tiling.depth and tiling.together > 1)
    for part, whole in ((tiling.depth, depth), (weights.depth, rows)):
        assert part < whole
