"""Prediction: microseconds for one row, and rows a second on a million, against ONNX Runtime and scikit-learn.

The network is that of digits; ONNX Runtime gets the very same weights, and must give the same probabilities. It is
tried with one thread and two, and on the million rows in one call and in slices.
"""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from speed.contenders import OURS, is_there
from speed.contenders.ours import trainer as network_trainer
from speed.onnx_file import dense_classifier
from speed.options import Options
from speed.report import NUMBER, RANGE, Column, Section
from speed.timing import Timing, count_for, in_turns, seconds
from speed.works import WORKS, rows_of, synthetic

MANY, SLICE = 1_000_000, 8_192
Predict = Callable[[Any], Any]
COLUMNS = (
    Column("what", "", ""),
    Column("contender", "", ""),
    Column("value", "median", NUMBER),
    RANGE,
    Column("ratio", "times ours", NUMBER),
)


def measure(options: Options) -> Section:
    """One row at a time, then all at once."""
    work = WORKS["digits"]
    X, y = rows_of(work)
    trainer = network_trainer(work, options)
    trainer.fit(X, y, epochs=2)
    contenders: dict[str, Predict] = {OURS: trainer.predict} | onnx_sessions(trainer, X) | scikit_learn(X, y)
    many, _ = synthetic(work.at(rows=20_000 if options.quick else MANY))
    rows = [
        *_rows("one row, us", _one_row(contenders, X[:1], options)),
        *_rows(f"{len(many):,} rows, ms", _all_rows(contenders, many, options)),
    ]
    notes = [f"{name} is not installed: not measured" for name in ("onnxruntime", "sklearn") if find_spec(name) is None]
    return Section("predict", f"prediction: {work.network}", COLUMNS, rows, notes)


def _one_row(contenders: dict[str, Predict], row: Any, options: Options) -> dict[str, Timing]:
    """Microseconds."""

    def ready(predict: Predict) -> Callable[[], float]:
        def repeat(count: int) -> None:
            for _ in range(count):
                predict(row)

        repeat(10)
        count, _ = count_for(repeat, options.seconds / 2)
        return lambda: seconds(lambda: repeat(count)) / count * 1e6

    found = in_turns({name: ready(predict) for name, predict in contenders.items()}, options.repeats)
    return _best(found)


def _all_rows(contenders: dict[str, Predict], X: Any, options: Options) -> dict[str, Timing]:
    """Milliseconds."""
    runs: dict[str, Callable[[], float]] = {}
    for name, predict in contenders.items():
        runs[name] = lambda predict=predict: seconds(lambda: predict(X)) * 1e3
        if name.startswith("onnx"):
            runs[f"{name}, slices"] = lambda predict=predict: seconds(lambda: _in_slices(predict, X)) * 1e3
    for run in runs.values():
        run()
    return _best(in_turns(runs, max(2, options.repeats // 2 + 1)))


def _in_slices(predict: Predict, X: Any) -> Any:
    return np.concatenate([predict(X[start : start + SLICE]) for start in range(0, len(X), SLICE)])


def _best(timings: dict[str, Timing]) -> dict[str, Timing]:
    """Of each contender, whose name stands before the comma, the variant with the lowest median."""
    kept: dict[str, tuple[str, Timing]] = {}
    for name, timing in timings.items():
        who = name.split(",")[0]
        if who not in kept or timing.median < kept[who][1].median:
            kept[who] = name, timing
    return dict(kept.values())


def _rows(what: str, timings: dict[str, Timing]) -> list[dict[str, Any]]:
    ours = timings[OURS].median
    return [
        {"what": what, "contender": name} | timing.record("value") | {"ratio": timing.median / ours}
        for name, timing in timings.items()
    ]


def onnx_sessions(trainer: Any, X: Any) -> dict[str, Predict]:
    """ONNX Runtime with one thread and two; nothing where it is not installed."""
    if find_spec("onnxruntime") is None:
        return {}
    import onnxruntime

    layers = [(layer["weight"], layer["bias"]) for layer in trainer.parameters.values() if layer]
    model = dense_classifier([(np.asarray(weight), np.asarray(bias)) for weight, bias in layers])
    found: dict[str, Predict] = {}
    for threads in (1, 2):
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        found[f"onnxruntime, {threads} thr."] = lambda rows, session=session: session.run(None, {"x": rows})[0]
        np.testing.assert_allclose(session.run(None, {"x": X})[0], trainer.predict(X), rtol=1e-3, atol=1e-5)
    return found


def scikit_learn(X: Any, y: Any) -> dict[str, Predict]:
    """Its network after one epoch; nothing where it is not installed."""
    if not is_there("sklearn"):
        return {}
    from speed.contenders.with_sklearn import classifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"sklearn": classifier(WORKS["digits"], 1).fit(X, y).predict_proba}
