"""What is wrong with a training, likeliest cause first, and what became of it by the first remedy."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from backpass.data.arrays import Array
from backpass.doctor.case import Case, case_of
from backpass.doctor.chart import Chart
from backpass.doctor.findings import Finding
from backpass.doctor.remedies import Remedy
from backpass.doctor.rows import AFTERWARDS, ROWS_RULES, RowsRule
from backpass.doctor.rules import RULES, Rule
from backpass.doctor.search import BETTER_HELD, findings_of
from backpass.errors import NotFiniteError, UsageError
from backpass.forward import Structure
from backpass.records import dataclass
from backpass.training import EarlyStopping, Trainer

WIDTH = 80
FARTHEST = 3  # treatments, one on top of the other
NEXT_TO_NOTHING = 0.02  # of skill


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
    """What was found, likeliest cause first. True where nothing was.

    Attributes:
        case: the training that was examined.
        findings: what was found.
        treatment: the first remedy, with those that help on top of it; None where a person must act.
    """

    case: Case
    findings: tuple[Finding, ...]
    treatment: Remedy | None

    def __bool__(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        if not self.findings:
            return ["nothing is wrong, as far as its numbers tell", *self._learned(), *self._looked_at()]
        told = []
        for number, finding in enumerate(self.findings, start=1):
            told.append(f"{number}  {finding.name}")
            for what in (finding.evidence, f"try: {finding.advice}", _promised(finding)):
                told += textwrap.wrap(what, WIDTH, initial_indent="   ", subsequent_indent="     ")
        return told + self._looked_at()

    def _learned(self) -> list[str]:
        """That a network learned next to nothing is no fault of its own where no remedy helps, but is to be told."""
        skill = 1.0 if self.case.parameters is None else self.case.own[1]
        if skill >= NEXT_TO_NOTHING:
            return []
        told = f"it explains {max(skill, 0.0):.0%} of held-out rows: the columns may tell nothing of the target"
        return textwrap.wrap(told, WIDTH)

    def _looked_at(self) -> list[str]:
        """Of how many rows, where these are not all."""
        rows = self._rows()
        parts = [
            f"{part['looked_at']:,} of {part['of']:,} rows {what}"
            for part, what in ((rows["learned_from"], "learned from"), (rows["held_out"], "held out"))
            if part["looked_at"] < part["of"]
        ]
        return [f"looked at {' and '.join(parts)}, drawn by chance"] if parts else []

    def _rows(self) -> dict[str, dict[str, int]]:
        (all_own, all_held), own, held = self.case.known, self.case.rows, len(self.case.held_out[1])
        if not self.case.guarded:  # they are rows learned from, kept from trials
            own, held = own + held, 0
        return {
            "learned_from": {"looked_at": own, "of": max(all_own, own)},
            "held_out": {"looked_at": held, "of": max(all_held, held)},
        }

    def to_json(self) -> dict[str, Any]:
        return {"findings": [finding.to_json() for finding in self.findings], "rows": self._rows()}

    def treat(self) -> Treated:
        """Train again with the first remedy, and those that help on top of it.

        Raises:
            UsageError: there is no finding that a machine can treat.
        """
        finding = next((each for each in self.findings if each.remedy is not None), None)
        if finding is None or self.treatment is None:
            raise UsageError("nothing was found that can be treated without a person")
        case = self.treatment.applied(self.case)
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
    labelled: Sequence[str] = (),
    drawn: bool = True,
    judged: Any = None,
    parameters: Structure | None = None,
    shares: Array | None = None,
    telling: Callable[[str], None] | None = None,
    first: bool = False,
) -> Diagnosis:
    """What is wrong with a training, on the evidence of its own numbers and of short trials.

    Args:
        trainer: it, trained or yet to be; it stays as it is.
        inputs, targets, weights: what it was trained on.
        validation: (inputs, targets) or (inputs, targets, weights) that were held out.
        epochs: that it is to be trained; None for as many as it was.
        patience: of its early stopping.
        names: of the columns of the inputs.
        labelled: the names of the classes.
        drawn: whether `validation` was drawn by chance of the same rows: those of other groups, or of a later time, are
            distributed otherwise without any fault.
        judged: (inputs, targets) of another table, by which the network is to be judged.
        parameters: to look at in place of the trainer's own.
        shares: of each class, that its probability is divided by before the likeliest is the answer; None for the
            likeliest as it is. Of two classes, (1 - p, p) answers the second from the probability p on.
        telling: is called with what is looked at or tried next, in words.
        first: whether only the likeliest finding is asked for, and no treatment.
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
            labelled=labelled,
            drawn=drawn,
            judged=judged,
            parameters=parameters,
            shares=shares,
            **({} if telling is None else {"telling": telling}),
        ),
        first=first,
    )


def examined(
    case: Case,
    rules: Sequence[Rule] = RULES,
    rows_rules: Sequence[RowsRule] = ROWS_RULES,
    *,
    first: bool = False,
) -> Diagnosis:
    """The diagnosis of a case, by some rules; or no more than its `first` finding."""
    of_rows = []
    for rule in rows_rules:
        case.telling("looking at the rows")
        finding = rule(case)
        of_rows += [] if finding is None else [finding]
    alone = tuple(finding for finding in of_rows if finding.stands == "alone")
    if alone:
        return Diagnosis(case, alone, None)
    before, second, last = ([each for each in of_rows if each.stands == where] for where in ("first", "second", "last"))
    if first and before:
        return Diagnosis(case, (before[0],), None)
    of_network = findings_of(Chart(case), rules)
    found = [*before, *of_network[:1], *second, *of_network[1:], *last]
    return _only_first(case, found) if first else _onward(case, found, rules, rows_rules)


def _only_first(case: Case, findings: list[Finding]) -> Diagnosis:
    """The first that is not due to a trial which was good by chance."""
    for found in findings:
        remedy = found.remedy
        if found.promise is None or remedy is None or _kept(_after(remedy.applied(case)).own, case.own):
            return Diagnosis(case, (found,), None)
    return Diagnosis(case, (), None)


def _onward(case: Case, findings: list[Finding], rules: Sequence[Rule], rows_rules: Sequence[RowsRule]) -> Diagnosis:
    """With what is still wrong once the first is treated: each is treated by a training, and that is examined."""
    told, waiting = list(findings), list(findings)
    of_rows = [each for each in findings if each.stands != "last"]  # these stay whatever is done about the network
    treated: list[str] = []
    treatment, now = Remedy(), case
    while True:
        found = next((each for each in waiting if each.remedy is not None), None)
        if found is None or found.remedy is None:
            break
        more = treatment.then(found.remedy)
        case.telling(f"training with the remedy of {found.name}")
        after = _after(more.applied(case))
        if found.promise is not None and not _kept(after.own, now.own):  # a trial that was good by chance
            waiting.remove(found)
            told = [each for each in told if each is not found]
            continue
        if treated and found.name not in treated and found not in of_rows:
            place = 1 + next(n for n, each in enumerate(told) if each.name == treated[-1])
            place += sum(each.stands == "second" for each in told[place:])
            once = f"once {treated[-1]} is treated: {found.evidence}"
            told = [each for each in told if each.name != found.name]
            told.insert(min(place, len(told)), replace(found, evidence=once, remedy=more))
        treated.append(found.name)
        treatment, now = more, after
        if len(treated) == FARTHEST:
            break
        waiting = [each for each in of_rows if each.name not in treated] + findings_of(Chart(after), rules)
        waiting += [each for rule in AFTERWARDS if rule in rows_rules and (each := rule(after)) is not None]
        waiting = [each for each in waiting if each.name != treated[-1]]
    return Diagnosis(case, tuple(told), treatment if treated else None)


def _after(case: Case) -> Case:
    """The case, trained as long as a trial is."""
    done = trained(replace(case, epochs=case.trial_epochs))
    return replace(case, history=list(done.history), parameters=done.parameters)


def _kept(after: tuple[float, float], before: tuple[float, float]) -> bool:
    """Whether a training is better than the one before, on the rows learned from or on those held out."""
    return any(now - max(then, 0.0) > BETTER_HELD for now, then in zip(after, before, strict=True))
