"""The forward pass: from a Python function to a graph, and from a graph to every value in it."""

from backpass.forward.evaluate import Program, Values, evaluate
from backpass.forward.structure import Structure, flatten, labels, map_structure, unflatten
from backpass.forward.threads import one_thread
from backpass.forward.trace import Spec, Traced, holds_tensors, like, trace

__all__ = [
    "Program",
    "Spec",
    "Structure",
    "Traced",
    "Values",
    "evaluate",
    "flatten",
    "holds_tensors",
    "labels",
    "like",
    "map_structure",
    "one_thread",
    "trace",
    "unflatten",
]
