"""What is wrong with a training, likeliest cause first, and what became of it by the first remedy."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backpass.doctor.case import Case, case_of
from backpass.doctor.chart import Chart
from backpass.doctor.findings import Finding
from backpass.doctor.rows import ROWS_RULES, RowsRule
from backpass.doctor.rules import RULES, Rule, Suspicion
from backpass.errors import NotFiniteError, UsageError
from backpass.forward import Structure
from backpass.records import dataclass
from backpass.training import EarlyStopping, Trainer

BETTER, BETTER_HELD = 0.1, 0.05  # what the skill of a trial must gain on held-out rows, alone and beside the others
WORSE = 0.3  # what it may lose on the rows where it gains so much on those held out: it learned less by heart
ALIKE = 0.1  # two remedies whose trials differ by less are ordered by what causes what
WIDTH = 80


@dataclass(frozen=True, eq=False)
class Treated:
    """A training with the first remedy.

    Attributes:
        finding: what was treated.
        before, after: the loss on held-out rows, on the scale of the targets then and now.
        skills: on held-out rows, before and after: 1 where nothing is wrong, 0 for one answer for all.
        trainer: the new one, trained.
        case: of the new one.
    """

    finding: Finding
    before: float
    after: float
    skills: tuple[float, float]
    trainer: Trainer
    case: Case


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found, likeliest cause first. True where nothing was."""

    case: Case
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        if not self.findings:
            return ["nothing is wrong, as far as its numbers tell"]
        told = []
        for number, finding in enumerate(self.findings, start=1):
            told.append(f"{number}  {finding.name}")
            for what in (finding.evidence, f"try: {finding.advice}", _promised(finding)):
                told += textwrap.wrap(what, WIDTH, initial_indent="   ", subsequent_indent="     ")
        return told

    def to_json(self) -> dict[str, Any]:
        return {"findings": [finding.to_json() for finding in self.findings]}

    def treat(self) -> Treated:
        """Train again with the first remedy.

        Raises:
            UsageError: there is no finding that a machine can treat.
        """
        finding = next((each for each in self.findings if each.remedy is not None), None)
        if finding is None or finding.remedy is None:
            raise UsageError("nothing was found that can be treated without a person")
        case = finding.remedy.applied(self.case)
        trainer = trained(case)
        after = replace(case, history=list(trainer.history), parameters=trainer.parameters)
        losses = [
            each.loss_of(each.model.outputs(each.held_out[0]), held_out=True) if each.model is not None else math.nan
            for each in (self.case, after)
        ]
        return Treated(finding, losses[0], losses[1], (self.case.own[1], after.own[1]), trainer, after)


def trained(case: Case) -> Trainer:
    """A Trainer that did what the case says, from the first weights; as far as it came, where it diverged."""
    trainer = Trainer(
        case.network,
        case.loss,
        case.optimizer,
        batch_size=case.batch_size,
        seed=case.seed,
        precision=case.precision,
        threads=case.threads,
    )
    stopping = None if case.patience is None else EarlyStopping(case.patience)
    try:
        trainer.fit(
            case.inputs,
            case.targets,
            weights=case.weights,
            epochs=case.epochs,
            validation=case.held_out,
            stopping=stopping,
        )
    except NotFiniteError:
        return trainer
    return trainer


def _promised(finding: Finding) -> str:
    if finding.promise is None:
        return ""
    train, held_out = finding.promise
    return f"with it, a short trial explains {train:.0%} (of held-out rows {held_out:.0%})"


def diagnose(
    trainer: Trainer,
    inputs: Any,
    targets: Any,
    *,
    validation: Any = None,
    weights: Any = None,
    epochs: int | None = None,
    patience: int | None = None,
    names: Sequence[str] = (),
    parameters: Structure | None = None,
) -> Diagnosis:
    """What is wrong with a training, on the evidence of its own numbers and of short trials.

    Args:
        trainer: it, trained or yet to be; it stays as it is.
        inputs, targets, weights: what it was trained on.
        validation: (inputs, targets) or (inputs, targets, weights) that were held out.
        epochs: that it is to be trained; None for as many as it was.
        patience: of its early stopping.
        names: of the columns of the inputs.
        parameters: to look at in place of the trainer's own.
    """
    return examined(
        case_of(
            trainer,
            inputs,
            targets,
            validation=validation,
            weights=weights,
            epochs=epochs,
            patience=patience,
            names=names,
            parameters=parameters,
        )
    )


def examined(case: Case, rules: Sequence[Rule] = RULES, rows_rules: Sequence[RowsRule] = ROWS_RULES) -> Diagnosis:
    """The diagnosis of a case, by some rules."""
    chart = Chart(case)
    found = []
    for place, rule in enumerate(rules):
        suspicion = rule(chart)
        finding = None if suspicion is None else _confirmed(chart, suspicion)
        if finding is not None:
            found.append((place, finding))
    best = max((min(each.promise) for _, each in found if each.promise), default=0.0)
    # What is about as good as the best comes in the order of causes, the rest after it.
    found.sort(key=lambda each: (min(each[1].promise or (-math.inf,)) < best - ALIKE, each[0]))
    of_rows = [finding for rule in rows_rules if (finding := rule(case)) is not None]
    first, last = ([finding for finding in of_rows if finding.first == wanted] for wanted in (True, False))
    return Diagnosis(case, (*first, *(finding for _, finding in found), *last))


def _confirmed(chart: Chart, suspicion: Suspicion) -> Finding | None:
    """The suspicion as a finding, if a short trial with a remedy is surely better than the network as it is, or if it
    needs none.
    """
    best: Finding | None = None
    for remedy, words in suspicion.remedies:
        found = chart.tried(remedy)
        gains = [now - max(before, 0.0) for now, before in zip(found, chart.case.own, strict=True)]
        fits = gains[0] > suspicion.gain and gains[1] > BETTER_HELD
        generalises = gains[1] > BETTER and (remedy.stop or gains[0] > -WORSE) and not suspicion.fits_badly
        if not fits and not generalises:
            continue
        if best is None or min(found) > min(best.promise or found) + 0.05:
            best = Finding(suspicion.name, suspicion.evidence, words, remedy, found)
    if best is None and suspicion.otherwise:
        return Finding(suspicion.name, suspicion.evidence, suspicion.otherwise)
    return best
