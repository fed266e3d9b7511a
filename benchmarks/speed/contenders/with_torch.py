"""PyTorch in eager mode, without a DataLoader: rows are gathered by index_select.

Tried: one thread and two, the fused and the foreach Adam, rows gathered for each step or for a whole epoch, and with
`--compile` torch.compile of the network. The capturable Adam is for accelerators only, and refuses to run here.
Denormal numbers are flushed to zero, as they are in backpass.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from speed.contenders import Runner, Variants
from speed.options import Options
from speed.works import LEARNING_RATE, Work


def variants(work: Work, X: Any, y: Any, options: Options) -> Variants:
    """By threads, kind of Adam and way of gathering."""
    ways = [
        ("fused", {"fused": True}, False),
        ("fused, rows an epoch", {"fused": True}, True),
        ("foreach", {"foreach": True}, False),
    ]
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    found: Variants = {}
    for threads in (2, 1):
        for name, kind, at_once in ways:
            found[f"{name}, {threads} thr."] = _ready(work, inputs, labels, kind, threads, at_once=at_once)
        if options.compile:
            found[f"compiled, {threads} thr."] = _ready(work, inputs, labels, ways[0][1], threads, compiled=True)
    return found


def network(work: Work) -> Any:
    layers: list[Any] = []
    for inputs, units in pairwise(work.widths):
        layers += [torch.nn.Linear(inputs, units), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _ready(
    work: Work, X: Any, y: Any, kind: dict[str, bool], threads: int, *, at_once: bool = False, compiled: bool = False
) -> Any:
    def ready() -> Runner:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        torch.manual_seed(0)
        model = network(work)
        adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, **kind)
        forward = torch.compile(model) if compiled else model

        def step(x: Any, labels: Any) -> None:
            adam.zero_grad(set_to_none=True)
            cross_entropy(forward(x), labels).backward()
            adam.step()

        def run(epochs: int) -> None:
            torch.set_num_threads(threads)
            for _ in range(epochs):
                order = torch.randperm(len(X))
                if at_once:
                    shuffled, labels = X.index_select(0, order), y.index_select(0, order)
                    for own in zip(shuffled.split(work.batch), labels.split(work.batch), strict=True):
                        step(*own)
                else:
                    for rows in order.split(work.batch):
                        step(X.index_select(0, rows), y.index_select(0, rows))

        return run

    return ready
