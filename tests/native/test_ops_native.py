"""Every operation of the catalogue, compiled: the reference's values, in every type, at any number of rows."""

import numpy as np
import pytest

from backpass import ops
from backpass.errors import ShapeError
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH, Batch, Graph
from backpass.native import NativeProgram
from backpass.ops.catalogue import CATALOGUE
from backpass.ops.kinds import Lookup, Pointwise, Random
from backpass.ops.samples import Case, Domain
from backpass.ops.tensor import new_input

DTYPES = ("float64", "float32", "int64", "bool")
FLOATS = DTYPES[:2]
B = BATCH

# For one input, for two, for three: sizes 0 and 1, primes, more than a vector, and all ways of stretching.
STATIC = {
    1: [((5, 7),), ((0, 3),), ((1,),), ((),), ((37,),), ((2, 3, 1, 5),), ((3, 130),)],
    2: [((3, 1), (7,)), ((5, 2), (5, 2)), ((0,), (1,)), ((), ()), ((), (67,)), ((2, 1, 3, 5), (4, 1, 1))],
    3: [((4, 1), (1, 70), (70,)), ((5,), (), (5,)), ((), (), ()), ((3, 2, 5), (2, 1), (3, 1, 1))],
}
BATCHED = {
    1: [((B,),), ((B, 1),), ((B, 5),), ((B, 19),), ((B, 3, 5),), ((4, B),), ((2, B, 3),), ((B, B),), ((2, 3, 1, B),)],
    2: [((B, 5), (5,)), ((B, 1), (1, 7)), ((B,), ()), ((2, B, 3), (B, 1)), ((3, B), (B,)), ((B, 1), (B,))],
    3: [((B, 5), (B, 1), ()), ((B,), (1,), (B,)), ((2, B), (1, B), (2, 1)), ((B, 3, 2), (B, 1, 1), (2,))],
}
ROWS = (17, 0, 1, 2, 3, 16, 31, 33, 64, 65, 257)


def every_op(test):
    return pytest.mark.parametrize("op", CATALOGUE, ids=lambda op: op.name)(test)


def inputs_of(op):
    """How many there are."""
    return (
        len(op.samples.bounds)
        if isinstance(op.samples, Domain)
        else len(op.samples(np.random.default_rng(0))[0].inputs)
    )


# Of the other operations: shapes with a batch axis first, in the middle, last, twice, and attributes.
REDUCED = [
    *[((B, 5), axes) for axes in ((0,), (1,), (0, 1), ())],
    *[
        ((B,), (0,)),
        ((2, B, 3), (1,)),
        ((2, B, 3), (0, 2)),
        ((4, B), (1,)),
        ((4, B), (0,)),
        ((B, B), (0,)),
        ((B, B), (1,)),
    ],
    *[((B, 3, 37), (1, 2)), ((B, 3, 37), (2,)), ((B, 3, 37), (0,)), ((B, 3, 37), (0, 1)), ((B, 1, 2, 3), (0, 1, 2, 3))],
]
MOVED = {
    "reshape": [
        *[((B, 6), {"shape": (B, 2, 3)}), ((2, 3, B), {"shape": (6, B)}), ((B,), {"shape": (1, B, 1)})],
        *[((2, 3, B, 4), {"shape": (6, B, 2, 2)}), ((B, 2, B), {"shape": (B, 1, 2, B)}), ((B, 1), {"shape": (B,)})],
    ],
    "transpose": [
        *[((B, 5), {"axes": (1, 0)}), ((5, B), {"axes": (1, 0)}), ((2, B, 3), {"axes": (1, 2, 0)})],
        *[((B, B), {"axes": (1, 0)}), ((B, 2, 3), {"axes": (0, 2, 1)})],
    ],
    "broadcast": [
        ((B, 1), {"shape": (B, 5)}),
        ((1,), {"shape": (2, 3)}),
        ((B,), {"shape": (3, B)}),
        ((), {"shape": (4,)}),
    ],
    "slice": [
        ((B, 7), {"spans": (None, (1, 7, 2))}),
        ((7, B), {"spans": ((2, 5, 1), None)}),
        ((B, 3), {"spans": (None, (1, 1, 1))}),
    ],
    "pad": [
        ((B, 3), {"margins": (None, (1, 2, 1))}),
        ((3, B), {"margins": ((0, 1, 2), None)}),
        ((B,), {"margins": (None,)}),
    ],
    "flip": [((B, 3), {"axes": (0,)}), ((B, 37), {"axes": (0, 1)}), ((2, B), {"axes": (1,)}), ((B,), {"axes": (0,)})],
    "cast": [((B, 5), {"dtype": np.dtype(name)}) for name in DTYPES],
}
MANY = {
    "concatenate": [
        *[([(B, 3), (B, 2), (B, 0)], {"axis": 1}), ([(2, B), (1, B)], {"axis": 0})],
        *[([(B, 2, 5), (B, 1, 5)], {"axis": 1}), ([(B, 17), (B, 40)], {"axis": 1})],
    ],
    "contract": [
        ([a, b], {"spec": spec})
        for spec, a, b in [
            *[("ik,kj->ij", (B, 7), (7, 5)), ("ik,jk->ij", (B, 7), (5, 7)), ("ki,kj->ij", (B, 7), (B, 5))],
            *[("ik,jk->ij", (B, 3), (B, 3)), ("ik,kj->ij", (5, B), (B, 3)), ("ik,kj->ij", (5, 7), (7, B))],
            *[("bik,bkj->bij", (B, 2, 3), (B, 3, 2)), ("bik,kj->bij", (B, 2, 3), (3, 5)), ("i,j->ji", (B,), (3,))],
            *[
                ("k,k->", (B,), (B,)),
                ("ik,k->i", (B, 3), (3,)),
                ("bi,bj->ji", (B, 33), (B, 17)),
                ("i,j->ij", (B,), (B,)),
            ],
            *[("ab,bc->ca", (B, 5), (5, 33)), ("ik,kj->ij", (B, 0), (0, 3)), ("ik,ij->kj", (B, 1), (B, 1))],
        ]
    ],
}


# Calls


def typed(values, dtype):
    """Real inputs in another type; numbers that name places stay as they are."""
    if dtype in ("float64", "float32"):
        return [x.astype(dtype) if x.dtype.kind == "f" else x for x in values]
    if dtype == "bool":
        return [x > 0.2 if x.dtype.kind == "f" else x for x in values]
    return [np.rint(3 * x).astype(dtype) if x.dtype.kind == "f" else x for x in values]


def drawn(rng, op, shape, place=0):
    low, high = op.samples.bounds[place] if isinstance(op.samples, Domain) else (-2.0, 2.0)
    return np.asarray(rng.uniform(low, high, shape))


def calls_of_fixed_shape(op):
    rng = np.random.default_rng(7)
    if isinstance(op.samples, Domain):
        cases = [
            Case(tuple(drawn(rng, op, shape, place) for place, shape in enumerate(shapes)), op.samples.attributes)
            for shapes in STATIC[inputs_of(op)]
        ]
    else:
        cases = op.samples(rng)
    dtypes = ("float64",) if isinstance(op, Random) else DTYPES
    return [(typed(case.inputs, dtype), case.attributes) for case in cases for dtype in dtypes]


def fits(op, specs, attributes, inputs):
    """Does the operation take these types?"""
    try:
        Program(all_at_once(op, [(specs, attributes)]))(*inputs)
    except (ShapeError, TypeError, ValueError):
        return False
    return True


def all_at_once(op, calls):
    """One graph of many calls, so that they are compiled together."""

    def function(*inputs):
        remaining, results = list(inputs), []
        for given, attributes in calls:
            own, remaining = remaining[: len(given)], remaining[len(given) :]
            results.append(ops.apply(op, *own, **attributes))
        return results

    return trace(function, *[spec for given, _ in calls for spec in given]).graph


def assert_same(found, expected, name):
    expected = np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=name)
        return
    tolerance = 1e-12 if expected.dtype == np.float64 else 2e-6
    scale = max(1.0, np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@every_op
def test_of_fixed_shapes_is_the_reference(op):
    """Every operation, in each type that it takes, on shapes with axes of 0, of 1 and longer than a vector."""
    calls = [([Spec(x.shape, x.dtype) for x in given], a, given) for given, a in calls_of_fixed_shape(op)]
    calls = [call for call in calls if fits(op, *call)]
    graph = all_at_once(op, [(specs, attributes) for specs, attributes, _ in calls])
    inputs = [x for _, _, given in calls for x in given]
    expected, found = Program(graph)(*inputs), NativeProgram(graph, threads=2)(*inputs)
    assert len(found) == len(calls) >= 2
    for (specs, attributes, _), ours, theirs in zip(calls, found, expected, strict=True):
        assert_same(ours, theirs, f"{[f'{x.dtype}{x.shape}' for x in specs]} {attributes}")


def calls_with_rows(op):
    """Lists of (shapes, dtype, attributes)."""
    if isinstance(op, Pointwise) and op.name != "cast":
        attributes = op.samples.attributes if isinstance(op.samples, Domain) else {}
        return [(shapes, attributes) for shapes in BATCHED[inputs_of(op)]]
    if op.name == "argmax":
        return [
            ([shape], {"axes": axes, "keepdims": k}) for shape, axes in REDUCED if len(axes) == 1 for k in (False, True)
        ]
    if op.name in {"sum", "max", "log_sum_exp"}:
        return [([shape], {"axes": axes, "keepdims": i % 2 == 1}) for i, (shape, axes) in enumerate(REDUCED)]
    if op.name in MOVED:
        return [([shape], attributes) for shape, attributes in MOVED[op.name]]
    return MANY.get(op.name, [])


def specs_of(op, shapes, dtype):
    first = "bool" if op.takes == "choice" else dtype
    return [Spec(shape, np.dtype(dtype if place else first)) for place, shape in enumerate(shapes)]


def lookups(op):
    number, real = np.dtype(np.int64), np.dtype(np.float32)
    if op.name == "gather":
        pairs = [((5, 3), (B,)), ((5,), (B, 2)), ((5, 19), (2, B)), ((5, 2, 3), (B,)), ((5, B), (3,)), ((5, 3), ())]
        return [([Spec(a, real), Spec(b, number)], {}) for a, b in pairs]
    if op.name == "scatter_add":
        pairs = [
            ((B, 3), (B,)),
            ((B,), (B,)),
            ((B, 2, 19), (B, 2)),
            ((4, B), (4,)),
            ((2, B, 3), (2, B)),
            ((B, B), (B,)),
        ]
        return [([Spec(a, real), Spec(b, number)], {"length": 5}) for a, b in pairs]
    return [([Spec(shape, number)], {"classes": 5, "dtype": real}) for shape in ((B,), (B, 2), (3, B), ())]


def calls_of_rows(op):
    if isinstance(op, Random):
        attributes = {"stream": 7, **({"probability": 0.3} if op.name == "bernoulli" else {})}
        return [
            ([Spec((2,), np.dtype(np.int64))], {**attributes, "shape": shape, "dtype": np.dtype(dtype)})
            for shape in ((B,), (B, 5), (B, 3, 70), (B, 64), (B, 1), (7, 5), ())
            for dtype in ("float32", "float64")
        ]
    if isinstance(op, Lookup):
        return lookups(op)
    dtypes = FLOATS if op.takes == "real" else DTYPES
    calls = [
        (specs_of(op, shapes, dtype), attributes) for shapes, attributes in calls_with_rows(op) for dtype in dtypes
    ]
    rng = np.random.default_rng(1)
    return [call for call in calls if fits(op, *call, values(op, [call], 2, rng))]


def values(op, calls, rows, rng):
    """Numbers for all calls, one after another."""
    given = []
    for specs, _ in calls:
        for place, spec in enumerate(specs):
            shape = tuple(rows if isinstance(axis, Batch) else axis for axis in spec.shape)
            if isinstance(op, (Random, Lookup)) and spec.dtype.kind == "i":
                given.append(rng.integers(0, 5, shape))
            else:
                given += typed([drawn(rng, op, shape, place)], spec.dtype.name)
    return given


@every_op
def test_of_a_batch_is_the_reference_at_any_number_of_rows(op):
    """The batch first, in the middle, last or twice; no rows, one, and such as end in the middle of a vector."""
    calls = calls_of_rows(op)
    assert calls, "a new operation needs calls with a batch: add them above"
    graph = all_at_once(op, calls)
    graph = Graph((*graph.inputs, new_input((BATCH,), np.dtype(np.float64), "rows")), graph.outputs)
    program, native = Program(graph), NativeProgram(graph, threads=2, rows=max(ROWS))
    rng = np.random.default_rng(5)
    for rows in ROWS if len(calls) < 40 else ROWS[:-1]:
        inputs = [*values(op, calls, rows, rng), np.zeros(rows)]
        try:
            expected = program(*inputs)
        except (ShapeError, ValueError):  # the largest of no numbers
            assert rows == 0
            continue
        for (given, attributes), ours, theirs in zip(calls, native(*inputs), expected, strict=True):
            assert_same(ours, theirs, f"{rows} rows, {[f'{x.dtype}{x.shape}' for x in given]} {attributes}")


# Numbers that are none, have none after them, or have a sign though they are 0


@pytest.mark.parametrize("keepdims", [True, False])
def test_the_logarithm_of_sums_of_large_exponentials_does_not_overflow(keepdims):
    """Wherever the largest element was taken off by the caller, by half or not at all."""
    x = np.array([[1000.0, 1000.0], [-1000.0, -1000.0], [3.0, 900.0]])

    def function(x):
        shifts = (ops.max(x, 1, keepdims=True), 0.5 * ops.max(x, 1, keepdims=True), ops.max(x, (0, 1), keepdims=True))
        values = [x, *(x - shift for shift in shifts)]
        return [ops.log_sum_exp(value, 1, keepdims=keepdims) for value in values]

    graph = trace(function, Spec((BATCH, 2), np.float64)).graph
    for ours, theirs in zip(NativeProgram(graph)(x), Program(graph)(x), strict=True):
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_the_largest_elements_of_other_rows_are_no_reason_to_overflow():
    """What is taken off here along the wrong axis are not the rows' own largest elements."""
    x = np.array([[1000.0, 1000.0], [-1000.0, -1000.0]])
    graph = trace(lambda x: ops.log_sum_exp(x - ops.max(x, 1), 1), Spec((2, 2), np.float64)).graph
    (found,) = NativeProgram(graph)(x)
    np.testing.assert_allclose(found, [2000.0, 0.0])


AWKWARD = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e30, -1e30, np.inf, -np.inf, np.nan]
ELEMENTWISE = [op for op in CATALOGUE if isinstance(op, Pointwise) and isinstance(op.samples, Domain)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_awkward_numbers_go_through_every_pointwise_operation_as_in_the_reference(dtype):
    """Where the reference has a NaN, an infinity or a zero with a sign, so has the program."""
    grid = np.stack(np.meshgrid(AWKWARD, AWKWARD)).astype(dtype)
    chosen = [op for op in ELEMENTWISE if len(op.samples.bounds) < 3]

    def function(a, b):
        return [ops.apply(op, *(x for x in (a, b)[: len(op.samples.bounds)])) for op in chosen]

    graph = trace(function, Spec((BATCH, 12), dtype), Spec((BATCH, 12), dtype)).graph
    for op, ours, theirs in zip(chosen, NativeProgram(graph)(*grid), Program(graph)(*grid), strict=True):
        assert ours.dtype == theirs.dtype, op.name
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=op.name)
        if theirs.dtype.kind != "f":
            np.testing.assert_array_equal(ours, theirs, err_msg=op.name)
            continue
        known = ~np.isnan(theirs)
        tolerance = 1e-12 if dtype == "float64" else 1e-5
        np.testing.assert_allclose(ours[known], theirs[known], rtol=tolerance, atol=tolerance, err_msg=op.name)
        if op.name not in {"maximum", "minimum", "relu"}:  # of two zeros either is the larger
            np.testing.assert_array_equal(np.signbit(ours[known]), np.signbit(theirs[known]), err_msg=op.name)
