"""A network with its parameters: what is common to training it and using it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.arrays import Array, Inputs, count_rows, let_go, take_rows
from backpass.errors import UsageError
from backpass.forward import Program, Structure, Traced, flatten, map_structure, one_thread, trace
from backpass.forward.trace import like
from backpass.graph import BATCH, Graph, scope, size
from backpass.losses import Loss
from backpass.nn import Layer, specs
from backpass.simplify import simplify

if TYPE_CHECKING:
    from backpass.native.explain import Explanation

# A forward pass over more rows than these is cut: values of a layer are held for that many rows only, and for fewer
# where a layer's values are many.
ROWS_AT_ONCE, VALUES_AT_ONCE = 1024, 1 << 25
FEW = 16  # rows: a program is made for so few as they are; from then on for as many as are ever taken at a time
# Between two looks at whether Ctrl-C was pressed: so many rows times parameters, which take about a tenth of a second.
WORK_AT_ONCE = 1 << 30
MOST_THREADS = 256
MOST_ROWS = 1 << 20  # of a batch whose program is explained


def typed(parameters: Structure, dtype: Any) -> Structure:
    """`parameters` with all real numbers in `dtype`."""
    return map_structure(lambda x: np.asarray(x, dtype if np.asarray(x).dtype.kind == "f" else None), parameters)


class ForwardPass:
    """The network in use: outputs for rows, by one program for any number of them.

    Of networks of several kinds the program gives the outputs of each network, which are put together here. So one
    program serves whatever is asked of them, with whatever shares, of rows that some of them left out and of others.
    """

    def __init__(
        self,
        network: Layer,
        parameters: Structure,
        row_shape: Any,
        *,
        precision: str,
        executor: str = "native",
        threads: int | None = None,
    ) -> None:
        require_count("threads", threads, MOST_THREADS)
        members: Any = network if network.member_groups else None
        given = specs(row_shape, precision)
        given = given if members is None else members.own(given)
        self._members = members
        self._traced = partial(_traced, network, map_structure(like, parameters), given)
        traced = self._traced()
        self._graph: Graph | None = simplify(traced.graph)
        self._executor = executor
        self._threads = threads
        self._known: tuple[Structure, list[Any]] = (None, [])
        self._programs: dict[int, tuple[Loss | None, Callable[..., list[Array]]]] = {}  # by identity of the loss
        widest = max((size(node.shape) for node in traced.graph.nodes if BATCH in node.shape), default=1)
        self._rows = min(ROWS_AT_ONCE, max(1, VALUES_AT_ONCE // max(1, widest)))
        self._piece = self._rows * max(
            1,
            WORK_AT_ONCE
            // (self._rows * max(64, sum(size(leaf.shape) for leaf in map(np.asarray, flatten(parameters))))),
        )
        self.outputs = size(traced.graph.outputs[0].shape)
        """How many numbers the network makes of a row."""

    def __getstate__(self) -> dict[str, Any]:
        """Programs belong to this process: a copy makes its own."""
        return self.__dict__ | {"_graph": None, "_known": (None, []), "_programs": {}}

    def __call__(self, parameters: Structure, inputs: Inputs) -> Array:
        """The outputs, shape (rows, ...)."""
        if self._members:
            return self._together(self._run(None, parameters, self._members.own(inputs)), inputs)
        return self._run(None, parameters, inputs)[0]

    def of_groups(self, parameters: Structure, inputs: Inputs) -> list[Array]:
        """Of networks of several kinds the outputs of those of each: see `nn.Layer.member_groups`."""
        if not self._members:
            return []
        found = self._run(None, parameters, self._members.own(inputs))
        return [self._together(found, inputs, group) for group in self._members.member_groups]

    def outputs_of(self, loss: Loss, parameters: Structure, inputs: Inputs) -> Array:
        """The outputs alone, by the program of `with_predictions`, which need not be made twice."""
        return self(parameters, inputs) if self._members else self._run(loss, parameters, inputs)[0]

    def with_predictions(self, loss: Loss, parameters: Structure, inputs: Inputs) -> tuple[Array, Array]:
        """The outputs, and what they mean to people: `loss.predictions` of them, both of shape (rows, ...)."""
        if self._members:
            outputs = self(parameters, inputs)
            return outputs, np.asarray(loss.predictions(outputs))
        outputs, predictions = self._run(loss, parameters, inputs)
        return outputs, predictions

    def _together(self, outputs: list[Array], inputs: Inputs, places: Sequence[int] | None = None) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(self._members.together(outputs, inputs, places))

    def _run(self, loss: Loss | None, parameters: Structure, inputs: Inputs) -> list[Array]:
        if parameters is not self._known[0]:
            self._known = parameters, flatten(parameters)
        fixed = self._known[1]
        count = count_rows(inputs)
        program = self._program(loss, count if count <= FEW and not self._members else self._rows)
        if count <= self._piece:
            return _given(program, fixed, inputs)
        cuts = [slice(at, at + self._piece) for at in range(0, count, self._piece)]
        parts = [_given(program, fixed, take_rows(inputs, cut)) for cut in cuts]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def explanation(self, loss: Loss, parameters: Structure, rows: int | None = None) -> "Explanation":
        """What the native program of `with_predictions` is made of, for so many rows, or as many as it ever takes."""
        from backpass.native import Job, available_threads
        from backpass.native.explain import Explanation

        require_count("batch_size", rows, MOST_ROWS)
        rows = self._rows if rows is None else rows
        graph = simplify(self._traced(None if self._members else loss).graph)
        job = Job(graph, rows=rows, threads=self._threads or 0, available=available_threads())
        return Explanation(job, f"predictions for {rows:,} rows at a time", dict(enumerate(flatten(parameters))))

    def _program(self, loss: Loss | None, rows: int) -> Callable[..., list[Array]]:
        """The program, made when it is first needed."""
        _, program = self._programs.get(id(loss), (None, None))
        if program is None:
            graph = self._graph if loss is None and self._graph else simplify(self._traced(loss).graph)
            if self._executor == "reference":
                program = _in_steps(_on_one_thread(Program(graph)), len(flatten(self._known[0])), self._rows)
            else:
                from backpass.native import NativeProgram

                native = NativeProgram(graph, threads=self._threads or 0, rows=rows)
                program = partial(native.by_batches, self._rows)
            self._programs[id(loss)] = loss, program  # held, so that no other loss comes to have its number
        return program


def _traced(network: Layer, parameters: Structure, inputs: Structure, loss: Loss | None = None) -> Traced:
    """The graph of the outputs and, with a loss, of what they mean; of several kinds those of each network."""

    def run(p: Structure, x: Any) -> Any:
        if network.member_groups:
            return network.outputs_of_members(p, x)  # type: ignore[attr-defined]
        outputs = network(p, x)
        if loss is None:
            return outputs
        with scope("predictions"):
            return outputs, loss.predictions(outputs)

    return trace(run, parameters, inputs, names=("", "x"))


def require_count(name: str, value: Any, most: int) -> None:
    """See that an option is None or a whole number from 1 to `most`.

    Raises:
        UsageError: it is not.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and not (whole and 1 <= value <= most):
        raise UsageError(f"{name} is {value!r}, expected a whole number from 1 to {most:,}")


def _given(program: Callable[..., list[Array]], fixed: list[Any], rows: Inputs) -> list[Array]:
    """The outputs for some rows, which are let go of then."""
    parts = list(rows.values()) if isinstance(rows, dict) else [rows]
    outputs = program(*fixed, *parts)
    let_go(*parts)
    return outputs


def _in_steps(program: Callable[..., list[Array]], fixed: int, rows: int) -> Callable[..., list[Array]]:
    """A program whose inputs but the first `fixed` are rows, of which it is given so many at a time."""

    def run(*inputs: Any) -> list[Array]:
        count = len(inputs[fixed])
        if count <= rows:
            return program(*inputs)
        cuts = [slice(at, at + rows) for at in range(0, count, rows)]
        parts = [program(*inputs[:fixed], *(each[cut] for each in inputs[fixed:])) for cut in cuts]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    return run


def _on_one_thread(program: Program) -> Callable[..., list[Array]]:
    def run(*inputs: Any) -> list[Array]:
        with one_thread():
            return program(*inputs)

    return run
