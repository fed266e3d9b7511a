"""Random trainings as Python code: a network, a loss, a rule, rows. What is run is the text that is printed."""

from textwrap import dedent
from typing import Any

from native_helpers import differences

from backpass.errors import NotFiniteError

BOTH = '("native", "reference")'
WITHIN = {"float64": 1e-8, "float32": 5e-3}
"""How far apart the two may be after 20 steps, relative to the largest element of an array."""
ROUGHLY = 1e-5
"""So far with rules that divide gradients by their size. Gradients that cancel almost to nothing (those of a GELU far
to the left) differ by rounding, and such a rule makes large ones of them. What is wrong shows in all the others."""
SIZES = (1, 2, 3, 5, 4, 7, 8, 13, 16, 17, 31, 33, 47, 64, 65)
STEPS = 20

ACTIVATIONS = (
    *("Tanh()", "ReLU()", "Sigmoid()", "LeakyReLU()", "ELU()", "SELU()", "GELU()", "SiLU()", "Mish()"),
    *("Softplus()", "Softmax()"),
)
SMOOTH_RULES = (
    *("SGD(0.05)", "Momentum(0.02)", "Nesterov(0.02)"),
    "Chain(optimizers.ClipByGlobalNorm(0.5), optimizers.Momentum(0.02))",
    "Chain(optimizers.ClipByValue(0.05), optimizers.SGD(0.05))",
    "Chain(optimizers.WeightDecay(0.05), optimizers.Nesterov(0.02))",
    "SGD(optimizers.WarmUp(3, then=optimizers.Cosine(0.05, steps=20)))",
    "Momentum(optimizers.OneCycle(0.02, steps=50))",
    "SGD(optimizers.ReduceOnPlateau(0.05))",
)
RULES = (
    *SMOOTH_RULES,
    *("Adagrad(0.02)", "RMSprop(0.003)", "Adam(0.003)", "AdamW(0.003)", "NAdam(0.003)", "RAdam(0.003)"),
    "Chain(optimizers.ClipByGlobalNorm(0.5), optimizers.WeightDecay(0.1), optimizers.Adam(0.003))",
    "Groups({'*bias': optimizers.SGD(0.05), '*': optimizers.Adam(0.003)})",
    "Adam(optimizers.Step(0.003, every=2))",
    "RMSprop(optimizers.Exponential(0.003, steps=9))",
)
"""All but those that take signs, which turn rounding into whole steps. So do those that divide by the size of a
gradient where it is nearly 0: in single precision they stand apart."""


def training_text(choices):
    """The code of a training, which ends with `trainers`: the same for each executor, trained for 20 steps at least.

    `choices` (see random_programs.Choices) decides all; numbers that are 0 choose what is simplest.
    """
    c = choices
    double = not c.flag(3)
    rows = c.of((*SIZES, 97, 130))
    batch = c.of((rows, 1, 7, 16, 32, 1000))
    inputs, first = _inputs(c)
    loss, outputs, targets = c.of(GOALS)
    layers = [*first, *(layer for _ in range(c.below(4)) for layer in _layers(c)), f"nn.Dense({outputs})"]
    rule = c.of(RULES if double else SMOOTH_RULES)
    weights = "rng.uniform(0.1, 2, rows)" if c.flag(3) else "None"
    members = c.of((1, 1, 1, 2, 3, 4))
    listed = "".join(f"    {layer},\n" for layer in layers)
    network = f"nn.Sequential(\n{listed})"
    if members > 1:
        network = f"nn.Ensemble({network}, {members})"
    steps = -(-rows // batch)
    return dedent(
        f"""\
        import numpy as np
        import backpass as bp
        from backpass import losses, nn, optimizers

        rng, rows = np.random.default_rng({c.below(1000)}), {rows}
        inputs = {inputs}
        targets = {targets}
        weights = {weights}
        network = NETWORK
        trainers = []
        for executor in {BOTH}:
            trainer = bp.Trainer(
                network,
                losses.{loss},
                optimizers.{rule},
                batch_size={batch},
                precision="{"float64" if double else "float32"}",
                executor=executor,
                threads={1 + c.below(3)} if executor == "native" else None,
                seed={c.below(100)},
            )
            trainer.fit(inputs, targets, weights=weights, epochs={-(-STEPS // steps)})
            trainers.append(trainer)
        """
    ).replace("NETWORK", network)


def disagreement(text):
    """How the two executors differ that a text trains; nothing, where they agree, or both leave what is finite."""
    try:
        trainers = _run(text)
    except NotFiniteError:
        ended = [_is_finite(text.replace(BOTH, f'("{executor}",)')) for executor in ("native", "reference")]
        return "one executor meets what is not finite, the other does not" if any(ended) else ""
    is_smooth = any(f"optimizers.{rule},\n" in text for rule in SMOOTH_RULES)
    within = WITHIN[trainers[0].precision] if is_smooth else ROUGHLY
    found = differences(*reversed(trainers))
    far = [difference for difference in found.values() if not difference < within]
    return f"{len(far)} of {len(found)} arrays differ by more than {within:g}, by up to {max(far):.3g}" if far else ""


def _run(text):
    names: dict[str, Any] = {}
    exec(compile(text, "training", "exec"), names)  # noqa: S102  (made above)
    return names["trainers"]


def _is_finite(text):
    try:
        _run(text)
    except NotFiniteError:
        return False
    return True


def _inputs(c):
    """The code of the inputs, and of the layers that take them."""
    features = c.of(SIZES)
    numbers = f"rng.normal(size=(rows, {features}))"
    match c.below(8):
        case 1:
            return f"rng.normal(size=(rows, 2, {features}))", ["nn.Flatten()"]
        case 2:
            levels = c.of((2, 5, 11, 40))
            return f"rng.integers(0, {levels}, rows)", [f"nn.Embedding({levels}, {c.of(SIZES)})"]
        case 3:
            levels = c.of((2, 3, 11))
            given = (
                f'{{"numbers": {numbers}, "colour": rng.integers(0, {levels}, rows), "size": rng.integers(0, 4, rows)}}'
            )
            units = c.of((1, 2, 5))
            parts = f'numbers=nn.Identity(), colour=nn.Embedding({levels}, {units}), size=nn.OneHot(4, "float64")'
            return given, [f"nn.Concatenate({parts})"]
        case 4:
            return numbers, [f"nn.Dropout({c.of((0.25, 0.5, 0.9))})"]
        case _:
            return numbers, []


def _layers(c):
    units, activation = c.of(SIZES), f"nn.{c.of(ACTIVATIONS)}"
    match c.below(6):
        case 1:
            return [f"nn.Dense({units})", activation, f"nn.Dropout({c.of((0.25, 0.5))})"]
        case 2:
            return [f"nn.Dense({units})", f"nn.Residual({activation}, nn.Dense({units}))"]
        case 3:
            return [f"nn.Concatenate(nn.Dense({units}), nn.Sequential(nn.Dense({c.of(SIZES)}), {activation}))"]
        case 4:
            return [f"nn.Dense({units}, bias=False)"]
        case _:
            return [f"nn.Dense({units})", activation]


GOALS = (
    ("Squared()", 1, "rng.normal(size=rows)"),
    ("Squared()", 2, "rng.normal(size=(rows, 2))"),
    ("CrossEntropy()", 3, "rng.integers(0, 3, rows)"),
    ("CrossEntropy(0.1)", 17, "rng.integers(0, 17, rows)"),
    ("CrossEntropy()", 3, "rng.dirichlet(np.ones(3), rows)"),
    ("HalfSumOfSquares()", 2, "rng.normal(size=(rows, 2))"),
    ("Absolute()", 2, "rng.normal(size=(rows, 2))"),
    ("Huber(0.7)", 2, "rng.normal(size=(rows, 2))"),
    ("Quantile((0.1, 0.9))", 2, "rng.normal(size=rows)"),
    ("Poisson()", 1, "rng.poisson(2.0, rows).astype(float)"),
    ("BinaryCrossEntropy()", 1, "rng.integers(0, 2, rows)"),
    ("BinaryCrossEntropy(0.2)", 4, "rng.integers(0, 2, (rows, 4))"),
    ("Hinge()", 1, "rng.integers(0, 2, rows)"),
    ("Hinge()", 3, "rng.integers(0, 3, rows)"),
)
"""Losses, the number of outputs that they take, and targets."""
