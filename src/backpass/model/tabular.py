"""What makes a network a model of a table: how columns become inputs, and outputs become answers."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.arrays import Inputs
from backpass.data.checked_json import Record
from backpass.model import metrics
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.data import Table, TableEncoder, TargetEncoder

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Tabular:
    """The encoders of a table's inputs and targets, learned from training rows."""

    inputs: "TableEncoder"
    targets: "TargetEncoder"

    def encode(
        self, table: "Table", *, coerce: Collection[str] = (), notes: list[str] | None = None
    ) -> tuple[Inputs, Array]:
        """The rows of a table that have a target, as the network takes them: inputs and targets."""
        from backpass.data import usable_rows

        rows = usable_rows(table, self.targets.schema)
        inputs = network_inputs(self.inputs.encode(rows, coerce=coerce, notes=notes))
        return inputs, np.asarray(self.targets.encode(rows, notes=notes))

    def to_json(self) -> dict[str, Any]:
        return {"inputs": self.inputs.to_json(), "targets": self.targets.to_json()}

    @classmethod
    def from_json(cls, value: object) -> "Tabular":
        from backpass.data import TableEncoder, TargetEncoder

        record = Record(value, "tabular")
        tabular = cls(TableEncoder.from_json(record.take("inputs")), TargetEncoder.from_json(record.take("targets")))
        record.finish()
        return tabular


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers for the rows of a table, in its order.

    Attributes:
        names: the names of the targets.
        values: the answers: labels (rows,), or numbers (rows, targets) in the units of the table.
        classes: the labels of the classes as text; empty for numbers.
        probabilities: (rows, classes), in the order of `classes`; None for numbers.
    """

    names: tuple[str, ...]
    values: Array
    classes: tuple[str, ...] = ()
    probabilities: Array | None = None

    @np.errstate(over="ignore", invalid="ignore")  # squares of numbers near 1e300: such a score is not finite
    def scores(self, actual: Array) -> dict[str, float]:
        """Metrics against what was right: class numbers (rows,), or numbers (rows, targets)."""
        if self.probabilities is None:
            return _number_scores(self.values, actual, self.names)
        return class_scores(self.probabilities, actual)


def answers(tabular: Tabular, predictions: Array) -> Predictions:
    """What a network's predictions say of rows: `predictions` are probabilities, or standardized numbers."""
    names = tabular.targets.schema.target_names
    if not tabular.targets.classes:
        amounts = tabular.targets.decode(predictions.reshape(len(predictions), len(names)))
        return Predictions(names, amounts)
    probabilities = both_classes(predictions)
    labels = tabular.targets.decode(np.argmax(probabilities, axis=1))
    return Predictions(names, labels, tabular.targets.classes, probabilities)


def both_classes(predictions: Array) -> Array:
    """(rows, classes) from the probabilities of all classes, or from those of the second of two."""
    if predictions.ndim == 2 and predictions.shape[1] > 1:
        return predictions
    positive = predictions.reshape(len(predictions))
    return np.stack([1 - positive, positive], axis=1)


def class_scores(probabilities: Array, labels: Array) -> dict[str, float]:
    """accuracy and log_loss, and for two classes auc."""
    scores = {
        "accuracy": metrics.accuracy(probabilities, labels),
        "log_loss": metrics.log_loss(probabilities, labels),
    }
    if probabilities.shape[1] == 2:
        scores["auc"] = metrics.auc(probabilities[:, 1], labels == 1)
    return scores


def _number_scores(predicted: Array, actual: Array, names: tuple[str, ...]) -> dict[str, float]:
    """rmse, mae and r2; for several targets their means, and each target's own as `rmse_<name>`."""
    own = [number_scores(predicted[:, i], actual[:, i]) for i in range(len(names))]
    scores = {key: float(np.mean([each[key] for each in own])) for key in own[0]}
    if len(names) > 1:
        scores |= {f"{key}_{name}": value for name, each in zip(names, own, strict=True) for key, value in each.items()}
    return scores


def number_scores(predicted: Array, actual: Array) -> dict[str, float]:
    """rmse, mae and r2 of one target."""
    return {
        "rmse": metrics.rmse(predicted, actual),
        "mae": metrics.mae(predicted, actual),
        "r2": metrics.r2(predicted, actual),
    }


def network_inputs(encoded: dict[str, Array]) -> Inputs:
    """What the encoder makes of a table, as the network takes it: a lone block of numbers stands by itself."""
    return encoded["numbers"] if list(encoded) == ["numbers"] else encoded
