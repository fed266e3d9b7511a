"""backpass, as its README shows it: a Trainer, and one call of `fit`."""

from inspect import signature
from itertools import pairwise
from typing import Any

from backpass import losses, nn, optimizers
from backpass.training import Trainer
from speed.contenders import Runner, Variants
from speed.options import Options
from speed.works import LEARNING_RATE, Work

TAKES_THREADS = "threads" in signature(Trainer).parameters


def variants(work: Work, X: Any, y: Any, options: Options) -> Variants:
    """One: what it does by itself."""

    def ready() -> Runner:
        own = trainer(work, options)
        return lambda epochs: own.fit(X, y, epochs=epochs)

    return {options.executor: ready}


def trainer(work: Work, options: Options, *, threads: int | None = None) -> Any:
    """For `work`. `threads` is left out where the Trainer has no such option."""
    layers: list[nn.Layer] = []
    for _, units in pairwise(work.widths):
        layers += [nn.Dense(units), nn.ReLU()]
    more = {"threads": threads} if TAKES_THREADS else {}
    return Trainer(
        nn.Sequential(*layers[:-1]),
        losses.CrossEntropy(),
        optimizers.Adam(LEARNING_RATE),
        batch_size=work.batch,
        seed=0,
        executor=options.executor,
        **more,
    )
