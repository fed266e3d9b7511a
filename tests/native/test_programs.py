"""NativeProgram: what may be an output, what calls must refuse, long graphs, operations of one's own, every target."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.errors import ShapeError
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH, scope
from backpass.native import Job, Machine, NativeProgram
from backpass.native.compile import Compiler
from backpass.native.engine import compile_text
from backpass.native.loops import Loops
from backpass.native.target import host, named
from backpass.ops.kinds import Contraction, Pointwise
from backpass.ops.samples import between

rng = np.random.default_rng(2)
X = rng.normal(size=(5, 3))


def graph_of(function, *specs):
    return trace(function, *specs).graph


def agree(graph, *inputs, **options):
    program = NativeProgram(graph, **options)
    for ours, theirs in zip(program(*inputs), map(np.asarray, Program(graph)(*inputs)), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)
    return program


# What may be an output


@pytest.mark.parametrize("shape", [(BATCH, 3), (5, 3)])
def test_inputs_constants_and_the_same_value_twice_may_be_outputs(shape):
    graph = graph_of(
        lambda x: [x, ops.tanh(x), ops.constant(2.5), ops.constant(np.arange(6.0).reshape(2, 3)), ops.tanh(x), x],
        Spec(shape, np.float64),
    )
    first, second, *_ = NativeProgram(graph)(X)
    agree(graph, X)
    np.testing.assert_array_equal(first, X)
    doubled = NativeProgram(graph_of(lambda x: [(y := ops.tanh(x)), y, x], Spec(shape, np.float64)))(X)
    np.testing.assert_array_equal(doubled[0], doubled[1])
    np.testing.assert_array_equal(doubled[0], second)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [1, 7, 16, 61])
def test_steps_of_some_rows_give_what_one_step_gives(count, threads):
    """Row by row, for outputs of one number, of some, of whole numbers and of truths, and one that is no row."""
    graph = graph_of(
        lambda x, w: [ops.tanh(x @ w), ops.sum(x, axis=1), x > 0, ops.argmax(x, axis=1), w * 2],
        Spec((BATCH, 5), np.float32),
        Spec((5, 11), np.float32),
    )
    x = np.random.default_rng(count).normal(size=(count, 5)).astype(np.float32)
    w = np.linspace(-1, 1, 55, dtype=np.float32).reshape(5, 11)
    whole = NativeProgram(graph, threads=threads)(x, w)
    for most in (1, 5, 16, 100):
        parts = NativeProgram(graph, threads=threads).by_batches(most, x, w)
        for part, expected in zip(parts, whole, strict=True):
            assert part.dtype == expected.dtype
            np.testing.assert_array_equal(part, expected)


def test_calls_of_few_rows_and_of_many_in_any_order_give_the_same():
    """Few rows are copied to a place of the program's own, many are read where they lie."""
    specs = Spec((BATCH, 5), np.float32), Spec((BATCH,), np.int64), Spec((5, 3), np.float32)
    graph = graph_of(lambda x, i, w: [x @ ops.tanh(w), i * 2, ops.sum(x @ w)], *specs)
    program, given = NativeProgram(graph, rows=8), np.random.default_rng(3)
    w = given.normal(size=(5, 3)).astype(np.float32)
    w.flags.writeable = False
    for rows in (1, 40, 2, 1, 16, 17, 1, 0, 3):
        x, i = given.normal(size=(rows, 10)).astype(np.float32)[:, ::2], np.arange(rows)
        first, *_ = found = program(x, i, w)
        kept = first.copy()
        for ours, theirs in zip(found, Program(graph)(x, i, w), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        program(x + 1, i, w)
        np.testing.assert_array_equal(first, kept)


SUMS = {
    "added": lambda w, g: w + g,
    "in the other order": lambda w, g: g + w,
    "taken off": lambda w, g: w - g,
    "scaled": lambda w, g: w - 0.3 * g,
    "negative": lambda w, g: w + -g,
    "twice": lambda w, g: g + g,
    "scaled by each element": lambda w, g: w * g + w,
    "stretched": lambda w, g: g * 0.3 + w[:1],
    "turned too": lambda w, g: (total := w - 0.3 * g) @ ops.transpose(total),
}


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", SUMS)
def test_what_a_row_adds_to_a_matrix_in_whatever_form_is_the_references(name, threads, rows):
    """Sums of products over a single row begin with what they are added to; none at all leaves that."""
    graph = graph_of(
        lambda w, x, e: SUMS[name](w, ops.transpose(x) @ ops.tanh(e)),
        *(Spec(shape, np.float64) for shape in ((5, 13), (BATCH, 5), (BATCH, 13))),
    )
    rng = np.random.default_rng(rows)
    w, x, e = rng.normal(size=(5, 13)), rng.normal(size=(rows, 5)), rng.normal(size=(rows, 13))
    (found,), (expected,) = NativeProgram(graph, threads=threads, rows=1)(w, x, e), Program(graph)(w, x, e)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("target", ["host", "sse2"])
@pytest.mark.parametrize("rows", [1, 3, 17])
@pytest.mark.parametrize(("k", "m", "n"), [(5, 6, 7), (2, 2, 3), (3, 5, 2), (1, 4, 3), (17, 3, 2)])
def test_axes_of_one_that_a_reshape_adds_change_no_value(k, m, n, rows, target):
    """A value is read through them by the very loop that makes it, before it stands in memory."""

    def function(x, y):
        b = ops.exp(ops.tanh(x * 2))
        return [ops.sum(ops.reshape(b, (BATCH, k, 1, m)) * y, axis=2), b, ops.sum(b, axis=1)]

    graph = graph_of(function, Spec((BATCH, k, m), np.float64), Spec((BATCH, k, n, m), np.float64))
    options = {} if target == "host" else {"target": named(target)}
    agree(graph, rng.normal(size=(rows, k, m)), rng.normal(size=(rows, k, n, m)), threads=2, **options)


@pytest.mark.parametrize(("k", "m", "n"), [(5, 6, 7), (2, 2, 3), (17, 3, 2)])
def test_axes_of_one_change_no_value_of_fixed_shape(k, m, n):
    graph = graph_of(
        lambda x, y: [ops.sum(ops.reshape(ops.sum(x, axis=2), (k, 1, m)) * y, axis=1)],
        Spec((k, m, n), np.float64),
        Spec((k, n, m), np.float64),
    )
    agree(graph, np.swapaxes(rng.normal(size=(k, n, m)), 1, 2).copy(), rng.normal(size=(k, n, m)))


@pytest.mark.parametrize("columns", [9, 12, 14])
def test_rows_of_more_than_a_few_numbers_are_reduced_as_by_the_reference(columns):
    """Four numbers of each row are read at a time, and what is left over one by one."""

    def function(x):
        return [ops.max(x, 1), ops.sum(x * x, 1), ops.log_sum_exp(x, 1), ops.softmax(x, 1)]

    graph = graph_of(function, Spec((BATCH, columns), np.float32))
    program = NativeProgram(graph, rows=37)
    for rows in (37, 5, 1):
        x = rng.normal(size=(rows, columns)).astype(np.float32)
        for ours, theirs in zip(program(x), Program(graph)(x), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-6)


@pytest.mark.parametrize(
    ("columns", "flows", "target", "turned"),
    [(10, True, "avx2", {1}), (10, False, "avx2", set()), (10, True, "sse2", set()), (16, True, "avx2", set())],
)
def test_weights_that_leave_lanes_empty_are_updated_turned_about_where_both_ways_are_needed(
    columns, flows, target, turned
):
    def function(x, w):
        y = x @ w
        return [ops.einsum("ij,kj->ik", y, w) if flows else y, w - ops.einsum("ik,ij->kj", x, y)]

    graph = graph_of(function, Spec((BATCH, 64), np.float32), Spec((64, columns), np.float32))
    assert Compiler(Job(graph, {1: 1}, rows=32, threads=1), named(target)).arranged.turned == turned


def test_a_program_does_not_run_on_more_threads_than_it_was_made_for():
    machine = Machine(Job(graph_of(ops.tanh, Spec((BATCH, 3))), rows=4, threads=1))
    with pytest.raises(ValueError, match="made for 1 threads, not for 2"):
        machine.run(threads=2)


def test_what_a_call_returns_is_the_callers_own():
    """A later call changes no array that was returned before, and no input is ever changed."""
    program = NativeProgram(graph_of(lambda x, w: [x, w, x @ w], Spec((BATCH, 3)), Spec((3, 3))))
    x, w = X.astype(np.float32), np.eye(3, dtype=np.float32)
    first = program(x, w)
    kept = [array.copy() for array in first]
    program(x * 2, w * 3)
    for before, now in zip(kept, first, strict=True):
        np.testing.assert_array_equal(before, now)
        now[...] = 7
    np.testing.assert_array_equal(program(x, w)[0], X.astype(np.float32))


def test_a_frozen_input_may_change_for_another():
    """An array that cannot be written is taken once; another in its place is noticed, and any change of others."""
    program = NativeProgram(graph_of(lambda x, w: x * w, Spec((BATCH,), np.float64), Spec((1,), np.float64)))
    for number in (2.0, 3.0, 2.0):
        w = np.array([number])
        w.flags.writeable = False
        np.testing.assert_array_equal(program(np.ones(2), w)[0], [number, number])
        np.testing.assert_array_equal(program(np.ones(3), w)[0], [number] * 3)
    own = np.array([5.0])
    np.testing.assert_array_equal(program(np.ones(1), own)[0], [5.0])
    own[0] = 6.0
    np.testing.assert_array_equal(program(np.ones(1), own)[0], [6.0])


def test_rows_may_come_in_any_memory_order():
    """Inputs that are no C-contiguous arrays, or of another type that converts, are taken as they are meant."""
    graph = graph_of(lambda x: x * 2.0, Spec((BATCH, 3), np.float64))
    program = NativeProgram(graph)
    for each in (X.T.copy().T, np.repeat(X, 2, 0)[::2], X.astype(np.float32), X[::-1], X.tolist()):
        np.testing.assert_array_equal(program(each)[0], np.asarray(each, np.float64) * 2)


# What a call must refuse


def test_wrong_inputs_are_refused_as_by_the_reference():
    graph = graph_of(lambda x, y: x + y, Spec((BATCH, 3), np.float64), Spec((BATCH, 1), np.float64))
    native, reference = NativeProgram(graph), Program(graph)
    for inputs in ((X,), (X, X), (X, X[:4, :1]), (X[0], X[:, :1]), (X, X, X)):
        with pytest.raises(ShapeError) as theirs:
            reference(*inputs)
        with pytest.raises(ShapeError) as ours:
            native(*inputs)
        assert str(ours.value) == str(theirs.value)


LOOKUPS = {
    "gather": lambda numbers: ops.gather(ops.constant(np.arange(10.0).reshape(5, 2)), numbers),
    "gather in a middle axis": lambda numbers: ops.gather(
        ops.constant(np.arange(5.0)), ops.stack([numbers, numbers], 1)
    ),
    "scatter_add": lambda numbers: ops.scatter_add(ops.cast(numbers, np.float64), numbers, 5),
}


@pytest.mark.parametrize("shape", [(BATCH,), (40,)])
@pytest.mark.parametrize("name", LOOKUPS)
def test_a_number_that_names_no_row_of_a_table_is_an_error(name, shape):
    """Wherever it stands, in a batch or a value of fixed length; the next call, with good numbers, is right again."""
    graph = graph_of(LOOKUPS[name], Spec(shape, np.int64))
    native, reference = NativeProgram(graph, threads=2, rows=40), Program(graph)
    good = np.arange(40) % 5
    for place in (0, 7, 39):
        for number in (5, -1, 1 << 40, -(1 << 62)):
            bad = good.copy()
            bad[place] = number
            with pytest.raises(ShapeError, match=r"an index lies outside of its table"):
                native(bad)
        np.testing.assert_allclose(native(good)[0], reference(good)[0], rtol=1e-12)


def test_one_program_serves_any_number_of_rows():
    """Fewer, more, none, and many more; it keeps the values of the inputs that are no rows."""
    graph = graph_of(lambda x, w: [ops.tanh(x @ w), ops.sum(x)], Spec((BATCH, 3), np.float64), Spec((3, 5), np.float64))
    w = rng.normal(size=(3, 5))
    w.flags.writeable = False
    native, reference = NativeProgram(graph), Program(graph)
    for rows in (1, 0, 7, 2, 64, 65, 1000, 3, 0):
        x = rng.normal(size=(rows, 3))
        for ours, theirs in zip(native(x, w), reference(x, w), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


def test_a_label_that_is_no_class_has_a_loss_that_is_not_a_number():
    """As in the reference: a graph cannot raise errors of its own."""
    graph = graph_of(losses.CrossEntropy(), Spec((BATCH, 3), np.float64), Spec((BATCH,), np.int64))
    for label in (3, -1, 1 << 40):
        labels = np.array([0, 1, 2, label, 0])
        (ours,), (theirs,) = NativeProgram(graph, threads=2)(X, labels), Program(graph)(X, labels)
        assert np.isnan(ours)
        assert np.isnan(theirs)


def test_a_tensor_of_another_trace_is_an_error():
    kept = []
    trace(lambda x: kept.append(x) or x, Spec((2,)))
    with pytest.raises(ShapeError, match="a Tensor of another function that was traced"):
        NativeProgram(graph_of(lambda y: y + kept[0], Spec((2,))))(np.ones(2))


# Long graphs


def repeated(step, times):
    def function(x):
        for number in range(times):
            x = step(x, number)
        return x

    return function


CHAINS = {
    "pointwise": (lambda x, _: x * 0.99 + 0.01, 500),
    "dear": (lambda x, _: ops.tanh(x), 100),
    "the same value twice": (lambda x, _: x * x * 0.5 + x * 0.3, 150),
    "between types": (lambda x, i: ops.cast(ops.cast(x, np.float32 if i % 2 else np.float64) * 0.9, np.float64), 100),
}
FOLDED = {
    "flip": (lambda x, _: (x + ops.flip(x, x.ndim - 1)) * 0.5, 60),
    "flip along the first axis": (lambda x, _: (x + ops.flip(x, 0)) * 0.5, 60),
    "turned in a circle": (lambda x, _: ops.concatenate([x[..., 1:], x[..., :1]], -1) * 0.99 + x * 0.01, 40),
}


@pytest.mark.parametrize(("name", "shape"), [(n, s) for n in CHAINS for s in ((BATCH, 7), (5, 7), (7,), ())])
def test_hundreds_of_operations_in_a_row_are_no_trouble(name, shape):
    """Neither for the stack of Python nor for the size of the code."""
    graph = graph_of(repeated(*CHAINS[name]), Spec(shape, np.float64))
    agree(graph, rng.uniform(-1, 1, [5 if axis is BATCH else axis for axis in shape]), threads=2)


@pytest.mark.parametrize(("name", "shape"), [(n, s) for n in FOLDED for s in ((BATCH, 7), (5, 7))])
def test_a_value_read_at_two_places_again_and_again_is_calculated_once(name, shape):
    """Code in which every reading calculated it anew would double in length with each."""
    graph = graph_of(repeated(*FOLDED[name]), Spec(shape, np.float64))
    program = agree(graph, rng.uniform(-1, 1, (5, 7)), threads=2)
    assert len(Compiler(Job(graph, rows=5), named("avx2")).compile()) < 2_000_000
    assert program.graph is graph


def test_nothing_put_together_with_nothing_is_nothing():
    graph = graph_of(lambda x: ops.concatenate([x[:, 0:0], ops.sin(x)[:, 0:0]], 1), Spec((2, 5, 31), np.float32))
    agree(graph, np.ones((2, 5, 31), np.float32))


@pytest.mark.parametrize("rows", [1, 2, BATCH])
def test_rows_are_looked_up_by_numbers_that_are_calculated(rows):
    graph = graph_of(
        lambda i, table: ops.gather(table, ops.minimum(abs(i), 199)),
        Spec((rows, 33), np.int64),
        Spec((200,), np.float32),
    )
    numbers = np.arange(-60, 270, 10).reshape(1, 33).repeat(2 if rows is BATCH else rows, 0)
    agree(graph, numbers, np.arange(200, dtype=np.float32))


PIECES = st.lists(st.integers(0, 40), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    first=PIECES,
    second=PIECES,
    waves=st.tuples(st.integers(1, 4), st.sampled_from([3, 4, 8, 16, 32])),
    fixed=st.booleans(),
    target=st.sampled_from([host()] if host().is_arm else [host(), named("sse2")]),
    kind=st.sampled_from([np.float32, np.float64]),
    threads=st.integers(1, 2),
)
def test_values_put_together_of_pieces_of_any_length_are_whole(first, second, waves, fixed, target, kind, threads):
    """Slices, what is calculated in passing under another shape, and zeros around, read again at other places."""
    numbers, each = waves
    width = max([*first, *second, numbers]) + 3

    def function(x):
        scaled = ops.reshape(x[..., :numbers], (*x.shape[:1], numbers, 1)) * np.arange(1, each + 1, dtype=kind)
        made = ops.reshape(ops.sin(scaled), (*x.shape[:1], numbers * each))
        one = ops.concatenate([x[..., :1] * 3, *(x[..., :length] for length in first), made, x[..., 1:2]], 1)
        other = ops.concatenate([one * 0.5, *(x[..., 1 : 1 + length] for length in second), made * made], 1)
        around = bp.grad(lambda y: ops.sum(ops.sin(y[..., 1:-1])))(one)
        return one, other, around, ops.concatenate([other, around], 1)

    shape = (9 if fixed else BATCH, width)
    graph = graph_of(function, Spec(shape, kind))
    program = NativeProgram(graph, threads=threads, target=target)
    x = np.random.default_rng(0).uniform(-1, 1, (9, width)).astype(kind)
    for ours, theirs in zip(program(x), Program(graph)(x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


SPANS = st.lists(st.tuples(st.integers(0, 299), st.integers(1, 120), st.integers(1, 3)), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(spans=SPANS, width=st.sampled_from([96, 175, 214, 300]), rows=st.integers(1, 40), threads=st.integers(1, 2))
def test_of_a_product_of_which_some_columns_are_read_these_are_right(spans, width, rows, threads):
    """What else stands in its memory is never read, whatever it is."""
    parts = [slice(first % width, min(width, first % width + length), step) for first, length, step in spans]

    def function(x, W):
        product = x @ W
        return [ops.sin(product[:, part]) for part in parts] + [ops.sum(product[:, part], axis=0) for part in parts]

    graph = graph_of(function, Spec((BATCH, 7), np.float64), Spec((7, width), np.float64))
    machine = NativeProgram(graph, threads=threads, rows=rows)
    inputs = rng.normal(size=(rows, 7)), rng.normal(size=(7, width))
    machine.machine(rows).arena[:] = 0xFF  # numbers that are none
    for ours, theirs in zip(machine(*inputs), Program(graph)(*inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def test_only_panels_are_calculated_of_which_something_is_read():
    graph = graph_of(
        lambda x, W: [ops.sin((x @ W)[:, :100]), ops.cos((x @ W)[:, 290:])],
        Spec((BATCH, 7), np.float32),
        Spec((7, 300), np.float32),
    )
    compiler = Compiler(Job(graph, rows=64), host())
    (kernel,) = [kernel for kernel in compiler.plan.kernels if kernel.product]
    width, count = compiler.panels_of_weights(kernel).width, compiler.panels_of_weights(kernel).count
    assert compiler.wanted(kernel) == [range(-(-100 // width)), range(290 // width, count)]


# Operations of one's own


SWISH_SLOPE = 1.3


def swish(x, **attributes):
    return ops.apply(
        Pointwise(name="swish", forward=lambda x: x / (1 + np.exp(-SWISH_SLOPE * x)), takes="real", **attributes), x
    )


def test_a_pointwise_operation_of_ones_own_is_compiled_by_its_lower():
    def lower(e, x):
        slope = e.b.constant(SWISH_SLOPE, x.type)
        return e.multiply(x, e.sigmoid(e.multiply(slope, x)))

    agree(graph_of(lambda x: swish(x, lower=lower) * 2.0, Spec((BATCH, 3), np.float64)), X)


def test_a_pointwise_operation_of_ones_own_is_compiled_by_its_expansion():
    expanded = graph_of(
        lambda x: swish(x, expand=lambda x: x * ops.sigmoid(SWISH_SLOPE * x)) * 2.0, Spec((BATCH, 3), np.float64)
    )
    agree(expanded, X)


def test_what_cannot_be_compiled_is_an_error_that_names_the_node():
    """And says what to do; the reference runs it all the same."""

    def function(x):
        with scope("hidden_2.odd"):
            return swish(x)

    graph = graph_of(function, Spec((BATCH, 3), np.float64))
    Program(graph)(X)
    with pytest.raises(ShapeError, match=r'"swish" in hidden_2\.odd cannot be compiled.*`lower`.*executor="reference"'):
        NativeProgram(graph)(X)


def test_a_trainer_says_which_layer_cannot_be_compiled():
    net = nn.Sequential(
        hidden=nn.Dense(4), odd=nn.Function(lambda p, x: swish(x, derivative=lambda dy, y, x: (dy,))), out=nn.Dense(1)
    )
    trainer = bp.Trainer(net, losses.Squared(), optimizers.SGD(0.1))
    with pytest.raises(ShapeError, match=r'"swish" in odd cannot be compiled'):
        trainer.fit(X, X[:, :1], epochs=1)
    reference = bp.Trainer(net, losses.Squared(), optimizers.SGD(0.1), executor="reference")
    assert len(reference.fit(X, X[:, :1], epochs=1)) == 1


def test_a_contraction_of_ones_own_needs_no_lower():
    """The kind says what it is: only its name is its own."""
    mine = Contraction(
        name="my product",
        forward=lambda a, b, *, spec: np.einsum(spec, a, b),
        shape=lambda a, b, *, spec: (a[0], b[1]),
        samples=between(-1, 1, -1, 1),
    )
    w = rng.normal(size=(3, 4))
    agree(graph_of(lambda x: ops.apply(mine, x, ops.constant(w), spec="ik,kj->ij"), Spec((BATCH, 3), np.float64)), X)


# Values that are carried from step to step


def carried(function, specs, pairs):
    graph = graph_of(function, *specs)
    return Machine(Job(graph, dict(pairs), rows=4, threads=2)), Program(graph)


STATES = {
    "swapped": (lambda a, b: [b, a], {0: 0, 1: 1}),
    "in a circle": (lambda a, b: [b * 1.0, ops.tanh(a)], {0: 0, 1: 1}),
    "old after new": (lambda a, b: [(c := a * 0.5 + 1.0), b + a * c], {0: 0, 1: 1}),
    "new from both": (lambda a, b: [a + b, a - b], {0: 0, 1: 1}),
    "turned": (lambda a, b: [ops.transpose(a) + b, ops.transpose(b)], {0: 0, 1: 1}),
    "reversed": (lambda a, b: [ops.flip(a, 0) * 0.9, ops.flip(b, 1) + ops.flip(a, 1)], {0: 0, 1: 1}),
    "one value for both": (lambda a, b: [(c := ops.tanh(a + b)), c], {0: 0, 1: 1}),
    "unchanged": (lambda a, b: [a, a + b], {0: 0, 1: 1}),
    "a constant": (lambda a, b: [ops.constant(np.eye(5)), a + b], {0: 0, 1: 1}),
    "its own product": (lambda a, b: [ops.tanh(a @ b), ops.tanh(b @ a)], {0: 0, 1: 1}),
    "sums of the other": (lambda a, b: [a * 0.5 + ops.sum(b) * 0.01, b * 0.5 + ops.mean(a, 0)], {0: 0, 1: 1}),
    "copied into the other": (lambda a, b: [a + 1.0, a], {0: 0, 1: 1}),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("shape", [(5, 5), (1, 1)])
def test_a_state_is_read_before_it_is_written_over(name, shape):
    """After 1, 2 and 5 steps, in which outputs become inputs, crosswise too, it is what separate arrays give."""
    function, pairs = STATES[name]
    if name == "a constant" and shape == (1, 1):
        pytest.skip("its constant has another shape")
    machine, reference = carried(function, [Spec(shape, np.float64)] * 2, pairs)
    start = [rng.normal(size=shape) for _ in range(2)]
    for steps in (1, 2, 5):
        for place, value in enumerate(start):
            machine.put(place, value)
        machine.data([], count=steps)
        machine.run(batch=1)
        assert machine.steps_done == steps
        expected = start
        for _ in range(steps):
            expected = reference(*expected)
        for place, value in enumerate(expected):
            np.testing.assert_allclose(machine.take_input(place), value, rtol=1e-12, atol=1e-13)


# Products


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("depth", "columns"), [(17, 33), (1, 9)])
def test_what_follows_from_a_product_may_be_of_any_type_and_turned(dtype, depth, columns):
    """Truth values, whole numbers, the other precision, and the mirror image, of both kinds of product."""

    def function(x, e, w):
        followers = []
        for product in (ops.einsum("ki,kj->ij", x, e), x @ w):
            other = ops.cast(product, np.float32 if dtype == "float64" else np.float64)
            followers += [product > 0, ops.cast(product * 4.0, np.int64), other * 2.0, ops.transpose(product), product]
            followers += [ops.transpose(other), ops.transpose(product) * 0.5]
        return followers

    shapes = (BATCH, depth), (BATCH, columns), (depth, columns)
    graph = graph_of(function, *[Spec(shape, dtype) for shape in shapes])
    native, reference = NativeProgram(graph, threads=3, rows=37), Program(graph)
    for rows in (37, 3):
        inputs = [rng.integers(-4, 5, [rows if n is BATCH else n for n in shape]) / 2 for shape in shapes]
        for ours, theirs in zip(native(*inputs), reference(*inputs), strict=True):
            np.testing.assert_array_equal(ours, theirs)


# Targets


def everything(x, w, numbers):
    h = ops.tanh(x @ w)
    table = ops.gather(w, numbers)
    return [
        h,
        ops.softmax(h, -1),
        ops.sum(h, 0),
        ops.einsum("ki,kj->ij", x, h),
        table,
        ops.log_sum_exp(x),
        ops.flip(h, 1),
    ]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["sse2", "avx2", "avx512"])
def test_every_width_of_vectors_gives_the_same_values(name, dtype):
    """To rounding; only where this machine has them can they be run."""
    try:
        flags = named(name).features.replace("+", "").split(",")
        from llvmlite import binding

        missing = [
            flag for flag in flags if not binding.get_host_cpu_features().get(flag, flag in {"cmov", "cx8", "fxsr"})
        ]
    except RuntimeError:
        missing = ["unknown"]
    if missing or named(name).is_arm is not named("sse2").is_arm:
        pytest.skip(f"this processor has no {', '.join(missing)}")
    graph = graph_of(everything, Spec((BATCH, 19), dtype), Spec((19, 33), dtype), Spec((BATCH,), np.int64))
    program = NativeProgram(graph, target=named(name), threads=2, rows=37)
    for rows in (37, 1, 3):
        x, w = rng.normal(size=(rows, 19)).astype(dtype), (rng.normal(size=(19, 33)) / 5).astype(dtype)
        inputs = x, w, rng.integers(0, 19, rows)
        for ours, theirs in zip(program(*inputs), Program(graph)(*inputs), strict=True):
            np.testing.assert_allclose(
                ours, theirs, rtol=1e-11 if dtype == "float64" else 2e-5, atol=1e-11 if dtype == "float64" else 2e-5
            )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_code_for_arm_is_made(dtype):
    """Here it can be compiled, not run."""
    graph = graph_of(everything, Spec((BATCH, 19), dtype), Spec((19, 33), dtype), Spec((BATCH,), np.int64))
    target = named("arm64")
    assert len(compile_text(Compiler(Job(graph, rows=37, threads=2), target).compile(), target)) > 1000


# The cache


@pytest.mark.parametrize("factor", [2.0, 5.0])
def test_an_operation_of_ones_own_runs_the_code_that_it_has_now(factor):
    """Two records of one name and one shape: the object code of the first is not taken for the second."""
    record = Pointwise(
        name="scaled_in_a_test",
        forward=lambda x: x * factor,
        derivative=lambda dy, y, x: (dy * factor,),
        lower=lambda e, x: e.multiply(x, e.b.constant(factor, x.type)),
    )
    graph = graph_of(lambda x: ops.apply(record, x), Spec((BATCH, 3), "float64"))
    (found,) = NativeProgram(graph)(np.ones((2, 3)))
    np.testing.assert_array_equal(found, np.full((2, 3), factor))


def test_a_value_that_would_be_read_before_it_is_written_makes_no_program(monkeypatch):
    """Of a kernel whose loops are not cut where they must be: a fault of ours is told, and gives no wrong numbers."""
    monkeypatch.setenv("BACKPASS_CACHE", "off")
    monkeypatch.setattr(Loops, "_runs", lambda _loops, nodes, _key: [list(nodes)])

    def turned(x):
        y = ops.tanh(x)
        return y, y[:, ::-1] + 1.0

    with pytest.raises(AssertionError, match=r"tanh .* in the loop under way, and was to be read before it is written"):
        NativeProgram(graph_of(turned, Spec((BATCH, 40), np.float64)))(rng.normal(size=(3, 40)))


SHORT = {
    "largest of a plane": (lambda x: ops.max(x, (1, 2)), (12, 12, 12)),
    "mean of a plane": (lambda x: ops.mean(ops.relu(x), (1, 2)), (16, 16, 16)),
    "largest of a space": (lambda x: ops.max(x, (1, 2, 3)), (16, 16, 16)),
    "sum of dear ones": (lambda x: ops.sum(ops.tanh(ops.sin(x)) * ops.max(x, 2, keepdims=True), 1), (16, 16)),
    "many dear ones": (lambda x: ops.power(ops.erf(x) + 1.1, ops.sin(x) * ops.tan(x * 0.1)), (16,)),
    "softmax": (ops.softmax, (16,)),
}


@pytest.mark.parametrize("name", SHORT)
def test_the_code_of_short_rows_does_not_grow_with_the_product_of_their_axes(name):
    function, inner = SHORT[name]
    graph = trace(function, Spec((BATCH, *inner), np.float32)).graph
    program = NativeProgram(graph, threads=1)
    x = np.random.default_rng(0).uniform(0.1, 1, size=(19, *inner)).astype(np.float32)
    np.testing.assert_allclose(program(x)[0], Program(graph)(x)[0], rtol=1e-5)
    assert program.machine(19).compiler.text.count("\n") < 2500
