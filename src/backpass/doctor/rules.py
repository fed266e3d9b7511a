"""Sicknesses of networks: what each shows itself by, and what to try. One function a sickness."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from backpass import losses, nn
from backpass.doctor.chart import BY_HEART, ONE_BATCH_STEPS, TOO_HIGH, TOO_LOW, Chart, Stuck
from backpass.doctor.dial import changed
from backpass.doctor.remedies import Remedy, at_the_end, told
from backpass.ledger.watching import rebuilt
from backpass.nn import Dense, Dropout, Layer
from backpass.nn.activations import Activation
from backpass.training.divergence import learning_rate

# Thresholds; docs/doctor.md says where each comes from.
LARGE, SMALL, APART = 10.0, 0.03, 100.0  # sizes of columns, and their ratio
START = 3.0  # of the expected loss
FADES, GROWS = 0.1, 10.0  # the error at the first layer by that at the last
STUCK = 0.5  # of the units of a layer
LITTLE = 1e-3  # of the spread of targets, or of outputs that are logits: what differs by less does not differ
NOTHING = 0.02  # of skill: no more than one answer for all
PLAIN_RATE, PLAIN_NODES = 0.003, 32  # of a plain network
HELD_BACK, DECAY = 0.4, 0.02  # dropout, weight decay
NARROW = 8  # nodes
TURNED = 0.1  # of the skill, that the loss on held-out rows has lost since its best epoch
FALLING = 0.02  # of the skill, that the last tenth of the epochs brought
HARDLY_ANY = 2  # epochs, of which the loss says nothing of those to come
MORE, LEAST_EPOCHS = 5, 40  # how many times as many epochs are tried, and how many at least
FITS = 0.88  # of skill on the rows learned from, beyond which nothing hinders learning
SLOW = 0.15  # of skill, that more steps or longer ones must bring: a little is always left to learn
RATES = (TOO_HIGH, TOO_LOW)
FEW_STEPS = 100  # from which on a learning rate can be judged while the loss still falls
SAME_NUMBER = 0.05  # of the spread of targets, by which answers differ that are worth no more than one
NEAR = 0.03  # of skill, by which two learning rates are alike


class Suspicion(NamedTuple):
    """A sickness that the measurements allow, with remedies to try, each with its words."""

    name: str
    evidence: str
    remedies: tuple[tuple[Remedy, str], ...]
    fits_badly: bool = False
    """Whether it shows on the rows that were learned from, and so a remedy must show there."""
    gain: float = 0.1
    """Of skill on these rows, that a trial must bring."""
    otherwise: str = ""
    """What a person can do where no remedy helps; "" where it is then no finding."""
    general: bool = False
    """Whether it tells only that something is wrong, not what."""
    beside: tuple[tuple[float, float], ...] = ()
    """Skills that a trial must be better than, too, for without the sickness these would be no better."""


Rule = Callable[[Chart], Suspicion | None]
DEFAULT_START = "let all weights start from their defaults (no initializer given)"


def output_activation(chart: Chart) -> Suspicion | None:
    """The loss takes raw outputs, and an activation stands before it, or holds outputs from the targets."""
    case, last = chart.case, at_the_end(chart.case.network)
    if not isinstance(last, Activation):
        return None
    name, loss = type(last).__name__, type(case.loss).__name__
    outputs = chart.start[1][-1].outputs
    evidence = f"{name} stands at the output, and {loss} takes raw outputs; these lie from {outputs.min():.3g} to "
    evidence += f"{outputs.max():.3g} before the first step"
    if not case.classes:
        evidence += f", the targets from {case.targets.min():.3g} to {case.targets.max():.3g}"
    return Suspicion(
        "activation at the output", evidence, ((Remedy(bare=True), f"leave out the {name} after the last layer"),)
    )


def identical_units(chart: Chart) -> Suspicion | None:
    """Units that begin alike get the same error and stay alike."""
    if not chart.alike:
        return None
    return Suspicion(
        "identical units",
        f"all units of {chart.alike} begin with the same weights, so all learn the same",
        ((Remedy(starts=True), DEFAULT_START),),
    )


def unscaled_inputs(chart: Chart) -> Suspicion | None:
    """Columns of very different size, or far from 1."""
    sizes = chart.sizes
    if sizes is None or not (sizes > 0).any():
        return None
    largest, smallest = int(np.argmax(sizes)), int(np.argmin(np.where(sizes > 0, sizes, np.inf)))
    high, low = float(sizes[largest]), float(sizes[smallest])
    if high < LARGE and high > SMALL and high / low < APART:
        return None
    name = chart.case.name
    evidence = f"{name(largest)} is of size {high:.3g} (root mean square)"
    evidence += f", {name(smallest)} of {low:.3g}" if largest != smallest else ""
    return Suspicion(
        "unscaled inputs", evidence, ((Remedy(inputs=True), "bring every column to mean 0 and deviation 1"),)
    )


def unscaled_targets(chart: Chart) -> Suspicion | None:
    """Numbers to predict that are far from 0, or far from a spread of 1."""
    case = chart.case
    plain = isinstance(case.loss, (losses.Squared, losses.Huber, losses.Absolute, losses.HalfSumOfSquares))
    if case.classes or not plain or case.targets.dtype.kind not in "iuf":
        return None
    mean, spread = np.abs(case.targets.mean(axis=0)).max(), case.targets.std(axis=0).max()
    if LITTLE * 30 < spread < LARGE and mean < LARGE:
        return None
    return Suspicion(
        "unscaled targets",
        f"the targets have mean {mean:.3g} and deviation {spread:.3g}",
        ((Remedy(targets=True), "bring the targets to mean 0 and deviation 1, and the answers back"),),
    )


def loss_at_start(chart: Chart) -> Suspicion | None:
    """A network that knows nothing yet should say nothing: its loss is that of outputs of 0."""
    loss, expected = chart.start[0], chart.loss_of_nothing
    if expected <= 0 or loss < START * expected or not _has_own_start(chart.case.network):
        return None
    what = (
        f"ln {len(np.unique(chart.case.labels))}" if isinstance(chart.case.loss, losses.CrossEntropy) else "outputs 0"
    )
    return Suspicion(
        "loss at the start",
        f"the loss before the first step is {loss:.3g}, expected about {expected:.3g} ({what})",
        ((Remedy(starts=True), DEFAULT_START),),
    )


def vanishing_errors(chart: Chart) -> Suspicion | None:
    """Errors that get smaller from layer to layer, on their way back."""
    flow = chart.flow
    if flow is None or flow[2] > FADES:
        return None
    return Suspicion("vanishing errors", _flow(flow), _starts_and_activations(chart))


def exploding_errors(chart: Chart) -> Suspicion | None:
    """Errors that get larger from layer to layer, on their way back."""
    flow = chart.flow
    if flow is None or flow[2] < GROWS:
        return None
    return Suspicion("exploding errors", _flow(flow), _starts_and_activations(chart))


def saturated_units(chart: Chart) -> Suspicion | None:
    """Sigmoids and tanhs that begin at the ends of their range, where the slope is next to 0."""
    return _saturated(chart, chart.saturated(chart.start[1]), "before the first step")


def saturated_since(chart: Chart) -> Suspicion | None:
    """Such as came there while training."""
    if chart.end is None or chart.saturated(chart.start[1]).share >= STUCK:
        return None
    return _saturated(chart, chart.saturated(chart.end[1]), "now, and did not before the first step")


def dead_units(chart: Chart) -> Suspicion | None:
    """Relu units that begin as 0 for every row, and so learn nothing."""
    return _dead(chart, chart.dead(chart.start[1]), "before the first step")


def dead_since(chart: Chart) -> Suspicion | None:
    """Such as came to that while training."""
    if chart.end is None or chart.dead(chart.start[1]).share >= STUCK:
        return None
    return _dead(chart, chart.dead(chart.end[1]), "now, and were not before the first step")


def _saturated(chart: Chart, worst: Stuck, when: str) -> Suspicion | None:
    if worst.share < STUCK:
        return None
    evidence = f"{worst.share:.0%} of the outputs of {worst.path} lie at an end of their range {when}"
    return Suspicion("saturated units", evidence, _starts_and_activations(chart))


def _dead(chart: Chart, worst: Stuck, when: str) -> Suspicion | None:
    if worst.share < STUCK:
        return None
    leaky = (Remedy(activation="leaky_relu", starts=True), f"LeakyReLU for ReLU, and {DEFAULT_START}")
    own = ((Remedy(starts=True), DEFAULT_START),) if _has_own_start(chart.case.network) else ()
    evidence = f"{worst.share:.0%} of the units of {worst.path} are 0 for every row {when}"
    return Suspicion("dead units", evidence, (*own, leaky))


def rate_too_high(chart: Chart) -> Suspicion | None:
    return _rate(chart, TOO_HIGH, lambda factor: factor < 1)


def rate_too_low(chart: Chart) -> Suspicion | None:
    return _rate(chart, TOO_LOW, lambda factor: factor > 1)


def _rate(chart: Chart, name: str, wanted: Callable[[float], bool]) -> Suspicion | None:
    """By a range test: short trainings at multiples of the rate."""
    case = chart.case
    if min(case.own) > FITS or (name == TOO_LOW and case.own[0] > FITS):
        return None
    if steps(chart) < FEW_STEPS and too_few_epochs(chart) is not None:
        return None  # what is best for so few steps is not so for enough
    ladder = chart.ladder
    chosen = [factor for factor in ladder if wanted(factor)]
    best = max(chosen, key=lambda factor: min(ladder[factor]), default=1.0)
    if best == 1.0 or not math.isfinite(min(ladder[best])):
        return None
    # At an edge of those that do about as well luck would decide: the middle one, of two the lower.
    enough = [skill - NEAR for skill in ladder[best]]
    alike = sorted(f for f in chosen if all(a >= b for a, b in zip(ladder[f], enough, strict=True)))
    near = alike[(len(alike) - 1) // 2]
    return Suspicion(
        name,
        rate_evidence(chart, near, ladder[near]),
        ((Remedy(rate=near), f"a learning rate of {_rated(chart, near)}"),),
        fits_badly=name == TOO_LOW,
        gain=SLOW if name == TOO_LOW else 0.1,
        # Where a change of the rate either way is better, chance has made it bad, as where early stopping fell.
        beside=tuple(skills for factor, skills in ladder.items() if not wanted(factor)),
    )


def rate_evidence(chart: Chart, factor: float, skills: tuple[float, float], given: str = "") -> str:
    """What the training came to, and what it comes to at a multiple of the rate."""
    rate = learning_rate(chart.case.optimizer)
    shown = f"{rate:.3g}" if rate is not None else "the rate as it is"
    if chart.stride is not None:
        least, most = chart.stride
        shown += f" (its first step changes weights by {least:.1g} to {most:.1g} of their size)"
    return (
        f"at {shown} {_skill(chart.case.own[0])}; {given}from the first weights at {_rated(chart, factor)}, "
        f"{chart.case.trial_epochs} epochs explain {skills[0]:.0%}"
    )


def _rated(chart: Chart, factor: float) -> str:
    rate = learning_rate(chart.case.optimizer)
    return f"{rate * factor:.2g}" if rate is not None else f"{factor:g} times the rate"


def held_back(chart: Chart) -> Suspicion | None:
    """Dropout or weight decay so strong that nothing is learned."""
    dropout, decay = strongest_dropout(chart.case.network), strongest_decay(chart)
    if (dropout < HELD_BACK and decay < DECAY) or chart.case.own[0] > FITS:
        return None
    told = ([f"dropout {dropout:g}"] if dropout >= HELD_BACK else []) + (
        [f"weight decay {decay:g}"] if decay >= DECAY else []
    )
    evidence = f"{' and '.join(told)}; {_skill(chart.case.own[0])} of the rows it learned from"
    return Suspicion(
        "held back too strongly", evidence, ((Remedy(free=True), "no dropout, no weight decay"),), fits_badly=True
    )


def too_small(chart: Chart) -> Suspicion | None:
    """A network with too few nodes for what there is to learn, or without a hidden layer."""
    narrow = _narrowest(chart.case.network)
    if sum(isinstance(layer, Dense) for layer in _layers(chart.case.network)) == 1 and chart.case.own[0] <= FITS:
        return Suspicion(
            "network too small",
            f"it has no hidden layer, and {_skill(chart.case.own[0])} of the rows it learned from",
            ((Remedy(hidden=PLAIN_NODES), f"a hidden layer of {PLAIN_NODES} nodes"),),
            fits_badly=True,
        )
    if narrow is None or narrow > NARROW or _has_residual(chart.case.network) or chart.case.own[0] > FITS:
        return None
    factor = max(2, math.ceil(PLAIN_NODES / narrow))
    evidence = f"its narrowest hidden layer has {narrow} nodes, and {_skill(chart.case.own[0])} of the rows it "
    evidence += "learned from"
    return Suspicion(
        "network too small",
        evidence,
        ((Remedy(wider=factor), f"{factor} times as many nodes in hidden layers"),),
        fits_badly=True,
    )


def too_few_epochs(chart: Chart) -> Suspicion | None:
    """A loss that was still falling when training ended."""
    losses_seen = [chart.start[0], *(float(record["loss"]) for record in chart.case.history)]
    if len(losses_seen) < 2 or chart.case.own[0] > FITS or not all(map(math.isfinite, losses_seen)):
        return None
    skills = [chart.case.skill_of_loss(loss) for loss in losses_seen]
    tenth = max(1, len(skills) // 10)
    falls = skills[-1] - skills[-1 - tenth] >= FALLING
    if not falls and chart.case.epochs > HARDLY_ANY:
        return None
    evidence = (
        f"the loss fell from {losses_seen[-1 - tenth]:.3g} to {losses_seen[-1]:.3g} in the last {tenth} of "
        f"{len(skills) - 1} epochs, and was still falling"
    )
    factor = max(MORE, math.ceil(LEAST_EPOCHS / chart.case.epochs))
    remedies = (
        (Remedy(epochs=k), f"{k * chart.case.epochs} epochs in place of {chart.case.epochs}")
        for k in (factor, 4 * factor)
    )
    return Suspicion(
        "too few epochs",
        evidence if falls else f"the rows were gone over only {_times(chart.case.epochs)}",
        tuple(remedies),
        fits_badly=True,
        gain=SLOW if steps(chart) >= FEW_STEPS else 0.1,
    )


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def steps(chart: Chart) -> int:
    return chart.case.epochs * -(-chart.case.rows // chart.case.batch_size)


def overfitting(chart: Chart) -> Suspicion | None:
    """The loss on held-out rows turned, and rose while that on the rows learned from fell."""
    case = chart.case
    held = [record["validation_loss"] for record in case.history if record.get("validation_loss") is not None]
    if len(held) < 2 or not case.guarded or case.patience is not None:
        return None
    best = int(np.argmin(held))
    lost = case.skill_of_loss(held[best], held_out=True) - case.skill_of_loss(held[-1], held_out=True)
    if lost < TURNED or case.own[0] < case.own[1]:
        return None
    return Suspicion(
        "overfitting",
        f"the validation loss was {held[best]:.3g} in epoch {best + 1}, and is {held[-1]:.3g} in epoch {len(held)}, "
        f"while that on the rows learned from went on to {case.history[-1]['loss']:.3g}",
        ((Remedy(stop=True), "early stopping at the best validation loss"),),
    )


def constant_predictions(chart: Chart) -> Suspicion | None:
    """The same answer for every row, while the targets differ."""
    case, outputs = chart.case, chart.outputs
    if outputs is None or len(np.unique(case.targets)) < 2:
        return None
    spread = float((outputs.std(axis=0, dtype=np.float64)).max())
    size = 1.0 if case.classes else max(float(case.targets.std(axis=0).max()), 1e-30)
    alike = spread < LITTLE * size
    same = len(np.unique(case.answers(outputs))) == 1 if case.classes else spread < SAME_NUMBER * size
    if not alike and not (same and case.own[0] < NOTHING):
        return None
    evidence = f"all {case.rows:,} rows are answered alike: the outputs of the network differ by {spread:.2g} from row "
    evidence += "to row, " + (
        f"and there are {len(np.unique(case.labels))} classes" if case.classes else f"the targets by {size:.2g}"
    )
    otherwise = "look for what keeps inputs from the output: columns that are the same in every row, or a layer that is"
    remedies = (_plain(chart),)
    return Suspicion("constant predictions", evidence, remedies, otherwise=otherwise if alike else "", general=True)


def one_batch(chart: Chart) -> Suspicion | None:
    """A network that does not even learn a handful of rows by heart."""
    if chart.case.own[0] > BY_HEART or constant_predictions(chart) is not None:  # what it learned of all rows is enough
        return None
    rows, skills = chart.one_batch
    best = max(skills.values())
    if best > BY_HEART:
        return None
    evidence = f"{rows} rows alone, gone over {ONE_BATCH_STEPS} times at rates from {min(skills):.0g} to "
    evidence += f"{max(skills):.0g} times its own: at best {_skill(best)}"
    otherwise = "look for a fault in the network or the loss, rows that are alike and have other answers, or columns "
    otherwise += "that tell nothing"
    return Suspicion("cannot overfit one batch", evidence, (_plain(chart),), otherwise=otherwise, general=True)


def _plain(chart: Chart) -> tuple[Remedy, str]:
    """All at once that could be wrong of a network, for where no single change helps."""
    network = chart.case.network
    narrow = _narrowest(network)
    held = strongest_dropout(network) > 0 or strongest_decay(chart) > 0
    remedy = Remedy(
        adam=PLAIN_RATE,
        starts=_has_own_start(network),
        activation="relu",
        bare=isinstance(at_the_end(network), Activation),
        inputs=True,
        targets=unscaled_targets(chart) is not None,
        free=held,
        wider=1 if narrow is None or _has_residual(network) else math.ceil(PLAIN_NODES / narrow),
    )
    return remedy, told(remedy)


RULES: tuple[Rule, ...] = (
    output_activation,
    identical_units,
    unscaled_inputs,
    unscaled_targets,
    dead_units,
    saturated_units,
    exploding_errors,
    vanishing_errors,
    loss_at_start,
    rate_too_high,
    dead_since,
    saturated_since,
    held_back,
    overfitting,
    too_small,
    rate_too_low,
    too_few_epochs,
    constant_predictions,
    one_batch,
)
"""In the order of causes: what comes first in a training stands first, and what only shows that there is one last."""


def _skill(skill: float) -> str:
    if not math.isfinite(skill):
        return "the network did not stay finite"
    return f"it explains {max(0.0, skill):.0%}" if skill > 0 else "it is worse than one answer for all"


def _flow(flow: tuple[object, object, float]) -> str:
    first, last, ratio = flow
    return (
        f"before the first step the error of a row is {last.error:.2g} at {last.path} and {first.error:.2g} at "  # type: ignore[attr-defined]
        f"{first.path}: {ratio:.2g} times"  # type: ignore[attr-defined]
    )


def _starts_and_activations(chart: Chart) -> tuple[tuple[Remedy, str], ...]:
    network = chart.case.network
    own = ((Remedy(starts=True), DEFAULT_START),) if _has_own_start(network) else ()
    squashing = any(isinstance(layer, (nn.Sigmoid, nn.Tanh)) for layer in _hidden(network))
    relu = (Remedy(activation="relu", starts=True), "ReLU in hidden layers, with default starts")
    return (*own, relu) if squashing else own


def _hidden(network: Layer) -> list[Layer]:
    last = at_the_end(network)
    return [layer for layer in _layers(network) if layer is not last]


def _layers(network: Layer) -> list[Layer]:
    found: list[Layer] = []

    def note(layer: Layer) -> Layer:
        found.append(layer)
        return layer

    rebuilt(network, note)
    return found


def _narrowest(network: Layer) -> int | None:
    """The fewest nodes of a hidden layer; None where there is none."""
    return min([layer.units for layer in _layers(network) if isinstance(layer, Dense)][:-1], default=None)


def _has_residual(network: Layer) -> bool:
    return any(isinstance(layer, nn.Residual) for layer in _layers(network))


def _has_own_start(network: Layer) -> bool:
    """Does any layer say what its weights or biases start from?"""
    return any(
        isinstance(layer, Dense) and (layer.initializer is not None or layer.bias_initializer != nn.Constant())
        for layer in _layers(network)
    )


def strongest_dropout(network: Layer) -> float:
    return max((layer.rate for layer in _layers(network) if isinstance(layer, Dropout)), default=0.0)


def strongest_decay(chart: Chart) -> float:
    """Of weights, a step: AdamW's decay times the rate, or that which is added to gradients."""
    found = [0.0]

    def note(part: object) -> object:
        found.append(float(getattr(part, "weight_decay", 0.0)))
        found.append(float(getattr(part, "rate", 0.0)) if type(part).__name__ == "WeightDecay" else 0.0)
        return part

    changed(chart.case.optimizer, note)
    return max(found)
