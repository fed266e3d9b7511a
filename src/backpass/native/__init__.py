"""Graphs as machine code: see `docs/architecture.md`, "Native programs". Nothing here imports LLVM before it is needed."""

from backpass.graph import Graph
from backpass.native.compile import Job
from backpass.native.context import Reason
from backpass.native.program import Machine, NativeProgram
from backpass.native.quota import available_threads

__all__ = ["Job", "Machine", "NativeProgram", "Reason", "available_threads", "training_job"]


def training_job(graph: Graph, *, parameters: int, state: int, rows: int, threads: int, available: int) -> Job:
    """The Job of a training step: `parameters` and `state` say how many inputs, from the first on, are carried on.

    The next input is (seed, step), the rest are rows; the outputs are the loss and what is carried on, in order.
    """
    carried = {1 + place: place for place in range(parameters + state)}
    return Job(graph, carried, parameters + state, 0, rows, threads, available)
