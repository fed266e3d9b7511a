"""scikit-learn's MLPClassifier with the same batches: `fit` for a number of epochs that never stops early.

Tried: one thread and two of its BLAS. L2 regularization is off; its validation is off by default.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import ThreadpoolController

from speed.contenders import Runner, Variants
from speed.options import Options
from speed.works import LEARNING_RATE, Work


def variants(work: Work, X: Any, y: Any, options: Options) -> Variants:
    """By threads."""
    del options
    return {f"fit, {threads} thr.": _ready(work, X, y, threads) for threads in (1, 2)}


def classifier(work: Work, epochs: int) -> Any:
    return MLPClassifier(
        hidden_layer_sizes=work.widths[1:-1],
        batch_size=min(work.batch, work.rows),
        learning_rate_init=LEARNING_RATE,
        alpha=0.0,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=np.inf,
        warm_start=True,
        random_state=0,
    )


def _ready(work: Work, X: Any, y: Any, threads: int) -> Any:
    def ready() -> Runner:
        model = classifier(work, 1)
        pools = ThreadpoolController()

        def run(epochs: int) -> None:
            model.set_params(max_iter=epochs)
            with pools.limit(limits=threads, user_api="blas"), warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X, y)

        return run

    return ready
