"""What a table gets by default: network, loss, optimizer, batch size, epochs. All in one place."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from backpass import losses, nn, optimizers
from backpass.data import TableEncoder, TargetEncoder
from backpass.data.arrays import Array, Inputs
from backpass.data.naming import closest
from backpass.errors import UsageError
from backpass.nn.ensemble import MOST_MEMBERS
from backpass.optimizers.catalogue import RULES
from backpass.records import dataclass

FAST, STANDARD, BEST = EFFORTS = ("fast", "standard", "best")
MEMBERS = {FAST: 1, STANDARD: 4, BEST: 16}
WAVES = {FAST: 0, STANDARD: 16, BEST: 16}
MOST_FOLDS = 8
STEPS = {FAST: 5000, STANDARD: 16_000, BEST: 16_000}  # of a training that nothing ends before, within bounds
LEAST_EPOCHS = {FAST: 7, STANDARD: 20, BEST: 20}
LEARNING_RATE = {FAST: 6e-3, STANDARD: 2e-3, BEST: 2e-3}
FEW = 500  # rows: fewer do not tell waves from chance, and get still smaller networks
SMALL = 5000  # rows: smaller tables get smaller networks, held back more strongly
WIDEST_EMBEDDING = 32
MOST_WAVES = 256
PIECES = 16
WIDE = 256  # hidden nodes of a wide network
MORE_DROPOUT, MOST_DROPOUT = 2.5, 0.9  # of these it leaves out so many times the part that others do, but for some
NETWORK, WAVED, PIECED, WIDE_PIECED, ADDITIVE, LINEAR = KINDS = (
    "network",
    "waves",
    "pieces",
    "wide",
    "additive",
    "linear",
)
"""Kinds of networks for a table: of the numbers as they are, with waves beside them, with pieces beside them, one with
pieces whose single hidden layer is wide; and two without hidden layers, of which the first has pieces."""
BLENDED = (WAVED, WIDE_PIECED, ADDITIVE, LINEAR)
MOST_BLENDED = 50_000  # rows: of more, networks of one kind learn what there is
WIDEST_BLENDED = 100  # features: of more, a wide network alone would have millions of weights
SHAPING = ("hidden", "activation", "waves", "members")
"""What is chosen of these is for networks of one kind."""
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam", "radam", "lion")
LOSSES = {
    "classes": ("cross_entropy", "brier"),
    "two classes": ("binary_cross_entropy", "brier"),
    "number": ("squared", "half_sum_of_squares", "absolute", "huber"),
    "positive": ("squared", "half_sum_of_squares", "absolute", "huber"),
    "count": ("poisson",),
    "quantiles": ("quantile",),
}
"""The losses that fit what is predicted, the usual one first."""
Weights = tuple[float, ...]
MOST_PARAMETERS = 200_000_000  # with Adam's state and a gradient some 4 GB in float32


@dataclass(frozen=True)
class Recipe:
    """How a network for a table is built and trained.

    Attributes:
        hidden: the number of nodes of each hidden layer.
        activation: of the hidden layers, by its name in `nn.ACTIVATIONS`; or one for each, as "tanh,relu".
        dropout: the part of the hidden nodes left out while training.
        learning_rate: at its highest; it warms up, and then falls along a cosine to a fiftieth.
        weight_decay: AdamW's, on weights, not on biases.
        averaging: over how many of the last epochs the mean of the weights is taken, which is what is validated and
            used; 0 for the weights themselves.
        label_smoothing: of more than two classes, the share of each target that is spread evenly over all.
        clip: the largest norm of all gradients of a step together; 0 leaves them as they are.
        optimizer: by its name in `optimizers.RULES`.
        loss: by its name in `losses.LOSSES`, one that fits what is predicted; "" for the usual one.
        batch_size: rows a step.
        epochs: at most.
        patience: epochs without a better validation loss before training ends.
        members: how many such networks are trained side by side; the answers are the means of theirs. Where no rows
            are held out for validation alone, each leaves out a part of them.
        waves: how many cosines of each number its network is given beside the number.
        kinds: of `KINDS`, those that the members are of, as many of each; () where all are what `hidden` and `waves`
            say. How much each has to say is told by the rows that validate.
    """

    hidden: tuple[int, ...]
    activation: str
    dropout: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    patience: int
    members: int = 1
    waves: int = 0
    clip: float = 0.0
    averaging: float = 0.0
    label_smoothing: float = 0.0
    optimizer: str = "adamw"
    loss: str = ""
    kinds: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain data: what `recipe` takes as chosen to make it again."""
        kinds = {"kinds": list(self.kinds)} if self.kinds else {}
        plain = {name: value for name, value in vars(self).items() if name != "kinds"}
        return plain | {"hidden": list(self.hidden)} | kinds

    @property
    def activations(self) -> list[str]:
        """One for each hidden layer."""
        names = self.activation.split(",")
        return names if len(names) > 1 else names * len(self.hidden)

    def __post_init__(self) -> None:
        sizes = all(isinstance(n, int) and 1 <= n <= 1 << 16 for n in self.hidden)
        _require(sizes, "hidden", ",".join(map(str, self.hidden)), "whole numbers from 1 to 65,536, such as 64,32")
        names = self.activation.split(",")
        for name in names:
            near = closest(name, list(nn.ACTIVATIONS))
            known = f"one of {', '.join(nn.ACTIVATIONS)}" + ("" if near is None else f"; did you mean {near}?")
            _require(name in nn.ACTIVATIONS, "activation", name, known)
        layers = len(self.hidden)
        _require(
            len(names) in (1, layers), "activation", self.activation, f"one, or one for each of {layers} hidden layers"
        )
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        _require(0 < self.learning_rate < math.inf, "learning-rate", self.learning_rate, "a number above 0")
        _require(0 <= self.weight_decay < math.inf, "weight-decay", self.weight_decay, "0 or more")
        _require(
            0 <= self.averaging < math.inf, "averaging", self.averaging, "a number of epochs above 0, or 0 for none"
        )
        _require(0 <= self.label_smoothing < 1, "label-smoothing", self.label_smoothing, "at least 0 and below 1")
        _require(0 <= self.clip < math.inf, "clip", self.clip, "a number above 0, or 0 for none")
        _require(self.optimizer in OPTIMIZERS, "optimizer", self.optimizer, ", ".join(OPTIMIZERS))
        object.__setattr__(self, "kinds", tuple(self.kinds))
        for kind in self.kinds:
            _require(kind in KINDS, "kinds", kind, ", ".join(KINDS))
        _require(len(set(self.kinds)) == len(self.kinds), "kinds", ", ".join(self.kinds), "each of them once")
        even = not self.kinds or (self.members > 1 and self.members % len(self.kinds) == 0)
        _require(even, "members", self.members, f"as many of each of {len(self.kinds)} kinds")
        fitting = dict.fromkeys(loss for losses in LOSSES.values() for loss in losses)
        _require(self.loss in ("", *fitting), "loss", self.loss, ", ".join(fitting))
        _require(0 <= self.waves <= MOST_WAVES, "waves", self.waves, f"from 0 to {MOST_WAVES}")
        _require(self.members <= MOST_MEMBERS, "members", self.members, f"from 1 to {MOST_MEMBERS}")
        for name in ("batch_size", "epochs", "patience", "members"):
            _require(getattr(self, name) >= 1, name.replace("_", "-"), getattr(self, name), "1 or more")


def recipe(rows: int, effort: str = STANDARD, **chosen: object) -> Recipe:
    """The default recipe for so many training rows, with what was `chosen` in place of defaults (None: not chosen).

    Small tables get small batches, many epochs and more dropout; large ones larger batches and fewer epochs. The mean
    of the weights over the last epoch is what is used: it stands as if the learning rate had fallen to nothing, at
    whichever epoch early stopping then finds to be the best. Smoothed targets keep networks of many classes from
    outputs that grow without end (Szegedy and others, 2016, section 7). What is to be fast is a narrower network, which
    makes a third of the steps at three times the learning rate.
    """
    batch_size = int(min(512, max(16, 2 ** round(math.log2(max(rows, 1) / 100)))))
    steps_an_epoch = max(1, rows // batch_size)
    linear = chosen.get("hidden") in ((), [])  # the mean of linear models is one, and such a one has no waves
    kinds = blended(rows, effort, **chosen)
    epochs = int(min(200, max(LEAST_EPOCHS[effort], round(STEPS[effort] / steps_an_epoch))))
    defaults: dict[str, object] = {
        "hidden": (256, 128) if rows >= SMALL and effort != FAST else (128, 64) if rows >= FEW else (64, 32),
        "activation": "mish" if kinds else "relu",
        "dropout": 0.1 if rows >= SMALL else 0.2,
        "learning_rate": LEARNING_RATE[effort],
        "weight_decay": 0.01 if rows >= SMALL else 0.1,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": max(8, epochs // 8),
        "members": MOST_FOLDS * len(kinds) if kinds else MEMBERS[FAST if linear else effort],
        "waves": WAVES[BEST if kinds else FAST if linear else effort] if rows >= FEW or kinds else 0,
        "clip": 0.0,
        "averaging": 1.0,
        "label_smoothing": 0.05,
        "optimizer": "adamw",
        "loss": "",
        "kinds": kinds,
    }
    unknown = [name for name in chosen if name not in defaults]
    if unknown:
        raise UsageError(f'a recipe has no "{unknown[0]}": it has {", ".join(defaults)}')
    return Recipe(**(defaults | {key: value for key, value in chosen.items() if value is not None}))  # type: ignore[arg-type]


def blended(rows: int, effort: str, **chosen: Any) -> tuple[str, ...]:
    """The kinds of networks that are blended: those that are chosen, or by default; none where all are of one kind."""
    if chosen.get("kinds") is not None:
        return tuple(chosen["kinds"])
    own = any(chosen.get(name) is not None for name in SHAPING)
    return BLENDED if effort == BEST and rows < MOST_BLENDED and not own else ()


def of_one_kind_where_wide(recipe: Recipe, encoder: TableEncoder) -> Recipe:
    """The recipe, that of a blend by default for networks of one kind where there are many features."""
    if not recipe.kinds or len(encoder.feature_names) <= WIDEST_BLENDED:
        return recipe
    return replace(recipe, kinds=(), members=MEMBERS[BEST], activation="relu")


def folds(effort: str, **chosen: object) -> int:
    """Of how many parts of the rows the networks trained side by side each leave one out; 0 where it is one network."""
    members = MEMBERS[effort] if chosen.get("members") is None else chosen["members"]
    kinds = chosen.get("kinds")
    if isinstance(members, int) and isinstance(kinds, (list, tuple)) and kinds:  # each row is left out by some of each
        members = MOST_FOLDS if chosen.get("members") is None else members // len(kinds)
    linear = chosen.get("hidden") in ((), [])
    return min(MOST_FOLDS, members) if isinstance(members, int) and members > 1 and not linear else 0


def places_of_waves(recipe: Recipe, encoder: TableEncoder, inputs: Inputs) -> tuple[int, ...]:
    """Where the features stand that get waves or pieces: numbers of more than two values in training rows."""
    if not (recipe.waves or recipe.kinds) or not encoder.number_places:
        return ()
    block = inputs["numbers"] if isinstance(inputs, dict) else inputs
    # Each column copied first: of a block by rows every look at one takes seven times as long.
    return tuple(place for place in encoder.number_places if _has_values_between(np.array(block[:, place])))


def _has_values_between(values: Array) -> bool:
    return bool(np.any((values > values.min()) & (values < values.max())))


def input_layers(encoder: TableEncoder, beside: nn.Layer | None = None) -> dict[str, nn.Layer]:
    """What comes before the first hidden layer: what stands `beside` numbers, and embeddings of categories."""
    numbers: dict[str, nn.Layer] = {"numbers": beside or nn.Identity()}
    if not encoder.embeddings:
        return {"inputs": nn.Input(len(encoder.feature_names))} | (numbers if beside else {})
    numbers = numbers if encoder.feature_names else {}
    embedded = {name: nn.Embedding(levels, embedding_units(levels)) for name, levels in encoder.embeddings.items()}
    return {"inputs": nn.Concatenate(**numbers, **embedded)}


def embedding_units(levels: int) -> int:
    """How many numbers stand for one of so many levels: a power of the number, as fastai has it, within bounds."""
    units: int = round(1.6 * float(levels) ** 0.56)
    return max(2, min(WIDEST_EMBEDDING, units))


def network(recipe: Recipe, encoder: TableEncoder, targets: TargetEncoder, places: tuple[int, ...] = ()) -> nn.Layer:
    """Input, hidden layers each with activation and dropout, and an output without activation; as often as is asked.

    `places` are those of the numbers that get waves or pieces.
    """
    _require_sane(recipe, encoder, places)
    if recipe.members == 1:
        return _network(recipe, encoder, targets, places)
    if not recipe.kinds:
        return nn.Ensemble(_network(recipe, encoder, targets, places), recipe.members)
    member, *others = (_network(recipe, encoder, targets, places, kind) for kind in recipe.kinds)
    return nn.Blend(member, recipe.members, others=tuple(others))


def _network(
    recipe: Recipe, encoder: TableEncoder, targets: TargetEncoder, places: tuple[int, ...], kind: str = ""
) -> nn.Sequential:
    """One of a kind; of none where it is what the recipe says."""
    beside: nn.Layer | None = None
    if places and recipe.waves and kind in ("", WAVED):
        beside = nn.Periodic(places, recipe.waves)
    if places and kind in (PIECED, WIDE_PIECED, ADDITIVE):
        beside = nn.Pieces(places, PIECES)
    if kind in (ADDITIVE, LINEAR):
        return linear_network(encoder, targets, beside)
    wide = kind == WIDE_PIECED
    sizes, activations = hidden_of(recipe, kind), ("relu",) if wide else recipe.activations
    dropout = min(MORE_DROPOUT * recipe.dropout, MOST_DROPOUT) if wide else recipe.dropout
    hidden: dict[str, nn.Layer] = {}
    for number, (units, activation) in enumerate(zip(sizes, activations, strict=True), start=1):
        hidden[f"hidden_{number}"] = nn.Dense(units)
        hidden[f"{activation}_{number}"] = nn.ACTIVATIONS[activation]()
        if dropout:
            hidden[f"dropout_{number}"] = nn.Dropout(dropout)
    return nn.Sequential(
        **input_layers(encoder, beside), **hidden, output=nn.Dense(targets.outputs, initializer=nn.Glorot())
    )


def hidden_of(recipe: Recipe, kind: str) -> tuple[int, ...]:
    """The nodes of each hidden layer of a network of a kind."""
    return () if kind in (ADDITIVE, LINEAR) else (WIDE,) if kind == WIDE_PIECED else recipe.hidden


def _require_sane(recipe: Recipe, encoder: TableEncoder, places: tuple[int, ...]) -> None:
    """No network that would need more memory than a machine has, before any of it is asked for."""
    embedded = sum(map(embedding_units, encoder.embeddings.values()))
    waves = max(recipe.waves, PIECES if recipe.kinds else 0) * len(places)
    widths = [len(encoder.feature_names) + waves + embedded, *recipe.hidden]
    parameters = recipe.members * sum(a * b for a, b in pairwise(widths))
    if parameters > MOST_PARAMETERS:
        times = f" in {recipe.members} networks" if recipe.members > 1 else ""
        raise UsageError(
            f"the hidden layers {','.join(map(str, recipe.hidden))} make {parameters:,} weights{times}, "
            f"expected at most {MOST_PARAMETERS:,}: choose fewer or smaller ones with --hidden"
        )


def linear_network(encoder: TableEncoder, targets: TargetEncoder, beside: nn.Layer | None = None) -> nn.Sequential:
    """The network without hidden layers: a linear model of the encoded columns, and of what stands `beside` numbers."""
    return nn.Sequential(
        **input_layers(encoder, beside), output=nn.Dense(targets.outputs, initializer=nn.Constant(0.0))
    )


def loss(targets: TargetEncoder, recipe: Recipe | None = None) -> losses.Loss:
    """What is made small: what the recipe says, or what is usual for such targets; of one head.

    Raises:
        UsageError: the recipe's does not fit them.
    """
    return _losses(targets, recipe)[0]


def heads(targets: TargetEncoder, recipe: Recipe | None, learned: Array, weights: Sequence[Weights]) -> losses.Loss:
    """What is made small of all heads: the loss of the only one, or the mean of theirs, comparable.

    Each is divided by what it is for the best answer that is the same for every row: of classes the entropy of their
    shares, of amounts their variance, of quantiles the pinball loss of those, of counts their mean. So each is 1 for
    what learned nothing, and less by the part that was learned.

    Args:
        targets, recipe: as `loss`.
        learned: the encoded targets of the rows that are trained on.
        weights: of each head how much a row of each class counts; empty where all count alike.

    Raises:
        UsageError: the recipe's loss fits none.
    """
    own = _losses(targets, recipe)
    if not targets.parts:
        return own[0]
    found = []
    for part, each, column, of_class in zip(targets.parts, own, targets.columns(learned), weights, strict=True):
        counts = np.bincount(column, minlength=len(part.classes)) if part.classes else np.zeros(0)
        weighed = (
            np.array(of_class) * (counts.sum() / max(1e-9, float(counts @ np.array(of_class)))) if of_class else ()
        )
        found.append(
            losses.Head(each, part.outputs, _scale(each, part, column, counts, weighed), tuple(map(float, weighed)))
        )
    return losses.Heads(tuple(found))


def _scale(loss: losses.Loss, targets: TargetEncoder, column: Array, counts: Array, weights: Any) -> float:
    """The loss of the best answer that is the same for every row; 1 where that is nothing."""
    if not targets.classes:
        numbers = column.astype(np.float64)
        if isinstance(loss, losses.Poisson):
            return float(numbers.mean()) or 1.0
        middle = (0.5,) if isinstance(loss, losses.Absolute) else targets.quantiles
        same = np.quantile(numbers, middle) if middle else numbers.mean(axis=0)
        return float(np.mean(np.asarray(loss.rows(np.tile(same, (len(numbers), 1)), numbers)))) or 1.0
    shares = counts * (weights if len(weights) else 1.0)
    shares = shares / shares.sum()
    if isinstance(loss, losses.Brier):
        spread = float(1 - shares @ shares)
        return (spread / 2 if len(shares) == 2 else spread) or 1.0
    known = shares[shares > 0]
    return float(-known @ np.log(known)) or 1.0


def _losses(targets: TargetEncoder, recipe: Recipe | None) -> list[losses.Loss]:
    """One for each head; of several, one that the recipe's does not fit has its usual one."""
    kinds = [_kind(head) for head in targets.heads]
    asked = "" if recipe is None else recipe.loss
    if asked and not any(asked in LOSSES[kind] for kind in kinds):
        known = dict.fromkeys(name for kind in kinds for name in LOSSES[kind])
        raise UsageError(
            f"the loss {asked} does not fit a target of the kind {' or '.join(dict.fromkeys(kinds))}: "
            f"take {' or '.join(known)}"
        )
    return [
        _loss(head, asked if asked in LOSSES[kind] else LOSSES[kind][0], recipe)
        for head, kind in zip(targets.heads, kinds, strict=True)
    ]


def _kind(targets: TargetEncoder) -> str:
    """Of a head, as `LOSSES` calls it."""
    if targets.classes:
        return "two classes" if len(targets.classes) == 2 else "classes"
    return "quantiles" if targets.quantiles else targets.kind


def _loss(targets: TargetEncoder, name: str, recipe: Recipe | None) -> losses.Loss:
    if targets.quantiles:
        return losses.by_name(name, quantiles=targets.quantiles)
    smoothing = recipe.label_smoothing if recipe is not None and name == "cross_entropy" else 0.0
    return losses.by_name(name, **({"label_smoothing": smoothing} if smoothing else {}))


def optimizer(recipe: Recipe, steps: int) -> optimizers.Optimizer:
    """AdamW, with a warm-up over a twentieth of the steps and a cosine after it; no biases or waves decay."""
    rule = _rule(recipe, steps)
    rule = optimizers.Chain(optimizers.ClipByGlobalNorm(recipe.clip), rule) if recipe.clip else rule
    averaged = recipe.averaging * steps / recipe.epochs
    return optimizers.Averaged(rule, 1 - 1 / averaged) if averaged > 1 else rule


def _rule(recipe: Recipe, steps: int) -> optimizers.Optimizer:
    warm_up = max(1, min(500, steps // 20))
    rate = optimizers.WarmUp(warm_up, then=optimizers.Cosine(recipe.learning_rate, final_fraction=0.02))
    if recipe.optimizer != "adamw":
        kind: Any = RULES[recipe.optimizer]
        pull = optimizers.WeightDecay(recipe.weight_decay)
        return optimizers.Chain(pull, kind(rate)) if recipe.weight_decay else kind(rate)
    if not recipe.weight_decay:
        return optimizers.Adam(rate)
    waved = recipe.waves and (not recipe.kinds or WAVED in recipe.kinds)
    free = ("*.bias", "*.frequency", "*.phase") if waved else ("*.bias",)
    decayed = optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    return optimizers.Groups({**dict.fromkeys(free, optimizers.Adam(rate)), "*": decayed})


def _require(condition: bool, name: str, found: object, expected: str) -> None:
    if not condition:
        raise UsageError(f"--{name} is {found}, expected {expected}")
