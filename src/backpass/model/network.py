"""A network with its parameters: what is common to training it and using it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.arrays import Array, Inputs, count_rows, take_rows
from backpass.errors import UsageError
from backpass.forward import Program, Structure, flatten, map_structure, one_thread, trace
from backpass.forward.trace import like
from backpass.graph import BATCH, size
from backpass.nn import Layer, specs
from backpass.simplify import simplify

if TYPE_CHECKING:
    from backpass.native.explain import Explanation

# A forward pass over more rows than these is cut: values of a layer are held for that many rows only, and for fewer
# where a layer's values are many.
ROWS_AT_ONCE, VALUES_AT_ONCE = 4096, 1 << 25
MOST_THREADS = 256
MOST_ROWS = 1 << 20  # of a batch whose program is explained


def typed(parameters: Structure, dtype: Any) -> Structure:
    """`parameters` with all real numbers in `dtype`."""
    return map_structure(lambda x: np.asarray(x, dtype if np.asarray(x).dtype.kind == "f" else None), parameters)


class ForwardPass:
    """The network in use: outputs for rows, by one program for any number of them."""

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
        traced = trace(
            network,
            map_structure(like, parameters),
            specs(row_shape, precision),
            names=("", "x"),
        )
        self._graph = simplify(traced.graph)
        self._executor = executor
        self._threads = threads
        self._program: Any = None
        widest = max((size(node.shape) for node in traced.graph.nodes if BATCH in node.shape), default=1)
        self._rows = min(ROWS_AT_ONCE, max(1, VALUES_AT_ONCE // max(1, widest)))
        self.outputs = size(traced.graph.outputs[0].shape)
        """How many numbers the network makes of a row."""

    def __call__(self, parameters: Structure, inputs: Inputs) -> Array:
        """The outputs, shape (rows, ...)."""
        fixed = flatten(parameters)
        count = count_rows(inputs)
        parts = [
            self._compiled(min(count, self._rows))(*fixed, *flatten(take_rows(inputs, slice(at, at + self._rows))))[0]
            for at in range(0, count, self._rows)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def explanation(self, parameters: Structure, rows: int | None = None) -> "Explanation":
        """What the native program is made of, for so many rows at once; or for as many as it ever takes."""
        from backpass.native import Job, available_threads
        from backpass.native.explain import Explanation

        require_count("batch_size", rows, MOST_ROWS)
        rows = self._rows if rows is None else rows
        job = Job(self._graph, rows=rows, threads=self._threads or 0, available=available_threads())
        return Explanation(job, f"predictions for {rows:,} rows at a time", dict(enumerate(flatten(parameters))))

    def _compiled(self, rows: int) -> Callable[..., list[Array]]:
        """The program, made when it is first needed."""
        if self._program is None:
            if self._executor == "reference":
                self._program = _on_one_thread(Program(self._graph))
            else:
                from backpass.native import NativeProgram

                self._program = NativeProgram(self._graph, threads=self._threads or 0, rows=rows)
        program: Callable[..., list[Array]] = self._program
        return program


def require_count(name: str, value: Any, most: int) -> None:
    """See that an option is None or a whole number from 1 to `most`.

    Raises:
        UsageError: it is not.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if value is not None and not (whole and 1 <= value <= most):
        raise UsageError(f"{name} is {value!r}, expected a whole number from 1 to {most:,}")


def _on_one_thread(program: Program) -> Callable[..., list[Array]]:
    def run(*inputs: Any) -> list[Array]:
        with one_thread():
            return program(*inputs)

    return run
