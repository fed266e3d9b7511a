"""The story of `backpass demo iris`: five steps with the numbers of one flower, then the program, then and now."""

import math
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from backpass.backward import value_and_grad
from backpass.data import read_table
from backpass.forward import Program, trace
from backpass.recipes import textbook
from backpass.recipes.main_job import Outcome, plan
from backpass.recipes.textbook import LEARNING_RATE, Iris, Parameters

Array = np.ndarray[Any, Any]
ROW = 50  # the first versicolor: row 51 as people count


def tell(seed: int) -> Iterator[str]:
    """The lines of the story."""
    flowers = textbook.iris()
    yield from _introduction()
    yield from _five_steps(flowers, textbook.first_parameters(seed))
    right = yield from _as_published(flowers, seed)
    yield from _today(flowers, seed, right)


def _introduction() -> Iterator[str]:
    yield "Iris: 150 flowers of three species, four lengths of each, in cm."
    yield f"The network: 4 inputs, {textbook.HIDDEN} hidden nodes, 3 outputs."
    yield "Each node adds up its weighted inputs and a bias to z, and passes on"
    yield "a = sigmoid(z) = 1 / (1 + exp(-z))."
    yield ""


class _Numbers:
    """Every number of one step for one row: what the engine calculated."""

    def __init__(self, parameters: Parameters, x: Array, desired: Array) -> None:
        self.x, self.desired, self.parameters = x, desired, parameters
        self.w1, self.b1 = parameters["hidden"]["weight"], parameters["hidden"]["bias"]
        self.w2, self.b2 = parameters["output"]["weight"], parameters["output"]["bias"]
        traced = trace(lambda p: value_and_grad(textbook.error)(p, x[None], desired[None]), parameters)
        leaves = [parameters[layer][name] for layer in parameters for name in parameters[layer]]
        values = Program(traced.graph).every_value(*leaves)
        by_name = {node.name: values[node] for node in traced.graph.nodes if node.op.name == "sigmoid"}
        self.hidden, self.output = by_name["hidden_sigmoid"][0], by_name["output_sigmoid"][0]
        self.error = float(values[traced.graph.outputs[0]])
        self.gradient: Parameters = {
            layer: {name: values[node] for name, node in parts.items()} for layer, parts in traced.result[1].items()
        }
        self.delta2 = self.gradient["output"]["bias"]
        self.delta1 = self.gradient["hidden"]["bias"]

    def difference(self) -> float:
        """dE/dw of hidden.weight[0, 0] by moving that weight a little to both sides."""
        h = 1e-5
        moved = []
        for change in (h, -h):
            weight = self.w1.copy()
            weight[0, 0] += change
            hidden = self.parameters["hidden"] | {"weight": weight}
            moved.append(float(textbook.error(self.parameters | {"hidden": hidden}, self.x[None], self.desired[None])))
        return (moved[0] - moved[1]) / (2 * h)


def _five_steps(flowers: Iris, parameters: Parameters) -> Iterator[str]:
    n = _Numbers(parameters, flowers.measures[ROW], flowers.desired[ROW])
    yield f"One step, with the numbers of row {ROW + 1}"
    yield ""
    yield "1  The inputs go in, and the desired outputs are known."
    yield "     " + "  ".join(f"{name} {value:g}" for name, value in zip(flowers.columns, n.x, strict=True))
    yield "     desired: " + "  ".join(
        f"{name} {value:g}" for name, value in zip(flowers.names, n.desired, strict=True)
    )
    yield ""
    yield from _forward(flowers, n)
    yield "3  The error function says how far off that is."
    terms = " + ".join(f"({d:g} - {a:.4f})²" for d, a in zip(n.desired, n.output, strict=True))
    yield f"     E = ½ · [{terms}] = {n.error:.4f}"
    yield ""
    yield from _backward(flowers, n)
    yield from _adjust(n)


def _forward(flowers: Iris, n: _Numbers) -> Iterator[str]:
    yield "2  The outputs come out; every node's value is kept."
    z = float(n.x @ n.w1[:, 0] + n.b1[0])
    products = " ".join(f"{_signed(w)}·{x:g}" for w, x in zip(n.w1[:, 0], n.x, strict=True))
    yield f"   hidden[0]  z = {_first(products)} {_signed(n.b1[0])} = {z:.4f}"
    yield f"              a = sigmoid({z:.4f}) = {n.hidden[0]:.4f}        (and {textbook.HIDDEN - 1} more like it)"
    for k, name in enumerate(flowers.names):
        z = float(n.hidden @ n.w2[:, k] + n.b2[k])
        wanted = f"desired {n.desired[k]:g}"
        yield f"   output[{k}]  z = Σ w·a + b = {z:7.4f}  a = {n.output[k]:.4f}  {wanted} {name}"
    yield ""


def _backward(flowers: Iris, n: _Numbers) -> Iterator[str]:
    yield "4  The errors go backward. The sigmoid's derivative is a · (1 - a)."
    for k in range(len(flowers.names)):
        a, d = n.output[k], n.desired[k]
        yield f"   output[{k}]  δ = (a - desired) · a(1 - a) = {a - d:7.4f} · {a * (1 - a):.4f} = {n.delta2[k]:8.5f}"
    blame = float(n.w2[0] @ n.delta2)
    slope = n.hidden[0] * (1 - n.hidden[0])
    products = " ".join(f"{_signed(w)}·({delta:.5f})" for w, delta in zip(n.w2[0], n.delta2, strict=True))
    yield "   hidden[0]  δ = (Σ w·δ of the outputs) · a(1 - a), with Σ w·δ ="
    yield f"              {_first(products)} = {blame:.5f}"
    yield f"              δ = {blame:.5f} · {slope:.5f} = {n.delta1[0]:.3e}"
    yield ""


def _adjust(n: _Numbers) -> Iterator[str]:
    yield f"5  Weights and biases move against their derivatives, at learning rate {LEARNING_RATE:g}."
    rows = [
        ("output.weight[0, 1]", "δ of output[1] · a of hidden[0]", n.gradient["output"]["weight"][0, 1], n.w2[0, 1]),
        ("hidden.weight[0, 0]", "δ of hidden[0] · input 0", n.gradient["hidden"]["weight"][0, 0], n.w1[0, 0]),
        ("hidden.bias[0]", "δ of hidden[0]", n.gradient["hidden"]["bias"][0], n.b1[0]),
    ]
    for name, rule, slope, weight in rows:
        yield f"     {name:<20} ∂E/∂w = {rule} = {slope:.4e}"
        yield f"     {'':<20} w: {weight:.6f} - {LEARNING_RATE:g} · {slope:.4e} = {weight - LEARNING_RATE * slope:.6f}"
    yield "   Is it right? Moving hidden.weight[0, 0] a little to both sides gives"
    yield f"   the difference quotient {n.difference():.4e}."
    yield ""


def _signed(value: float) -> str:
    return f"{'-' if math.copysign(1, value) < 0 else '+'} {abs(value):.3f}"


def _first(terms: str) -> str:
    """Terms with their signs before them, as they stand where a sum begins."""
    return terms.removeprefix("+ ") if terms.startswith("+") else terms.replace("- ", "-", 1)


def _as_published(flowers: Iris, seed: int) -> Generator[str, None, int]:
    """The lines, and how many flowers the program names rightly in the end."""
    yield f"The program, as published: {textbook.ITERATIONS:,} such steps, each with a random row"
    yield "   inputs as they are; all rows are trained on; the output layer's biases"
    yield "   never move (its quirk)"
    judge = textbook.Judge(flowers)
    right, mean_error = judge(textbook.first_parameters(seed))
    yield f"   {0:>9,} steps   error {mean_error:.4f}   {right:>3} of 150 right"
    for iteration, parameters in textbook.train(flowers, seed):
        right, mean_error = judge(parameters)
        yield f"   {iteration:>9,} steps   error {mean_error:.4f}   {right:>3} of 150 right"
    yield ""
    return right


def _today(flowers: Iris, seed: int, textbook_right: int) -> Iterator[str]:
    yield "The same, as it is done today: backpass train iris.csv --target species"
    yield "   inputs scaled; softmax and cross-entropy; rows held out, to know when to"
    yield "   stop and for an honest score"
    table = read_table(textbook.iris_path())
    planned = plan(table, "species", seed=seed)
    outcome = planned.fit()
    rows = planned.prepared.rows()
    yield f"   stopped at epoch {len(outcome.history)}: {outcome.history.reason}"
    yield ""
    yield from _comparison(flowers, textbook_right, outcome, rows)


def _comparison(flowers: Iris, textbook_right: int, outcome: Outcome, rows: dict[str, int]) -> Iterator[str]:
    unseen = round(outcome.metrics["accuracy"] * rows["test"])
    everywhere = int(
        (outcome.model.predict(read_table(textbook.iris_path())) == np.array(flowers.names)[flowers.species]).sum()
    )
    table = [
        ("", "as published", "today"),
        ("rows trained on", "150", f"{rows['train']}"),
        (
            "right, of all 150 rows",
            f"{textbook_right} ({textbook_right / 150:.1%})",
            f"{everywhere} ({everywhere / 150:.1%})",
        ),
        (
            "right, of rows never seen",
            "unknown: it saw all",
            f"{unseen} of {rows['test']} ({unseen / rows['test']:.1%})",
        ),
    ]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    for row in table:
        yield "   " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
    yield "Only the last line says what to expect of the next flower."
    yield "next:  backpass train YOUR.csv --target COLUMN      backpass demo xor"
