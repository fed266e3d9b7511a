"""Which suspicions about a network are findings: by short trials of remedies, alone, at a lower rate, and together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

from backpass.doctor.chart import STEP, TOO_HIGH, TOO_LOW, Chart
from backpass.doctor.findings import Finding
from backpass.doctor.remedies import Remedy, told
from backpass.doctor.rules import FITS, RATES, Rule, Suspicion, rate_evidence

BETTER, BETTER_HELD = 0.1, 0.05  # what the skill of a trial must gain on held-out rows, alone and beside the others
WORSE = 0.3  # what it may lose on the rows where it gains so much on those held out: it learned less by heart
ALIKE = 0.1  # two remedies whose trials differ by less are ordered by what causes what
CHANCE = 1.5  # of skill, that one held-out row may add: of 15 rows a tenth
NO_LESS = 0.05  # of skill, that a part of a remedy must bring to stay in it
TOGETHER = "several at once"

Skills = tuple[float, float]


def findings_of(chart: Chart, rules: Sequence[Rule]) -> list[Finding]:
    """Of a network, likeliest cause first."""
    suspected = [suspicion for rule in rules if (suspicion := rule(chart)) is not None]
    general = {place for place, each in enumerate(suspected) if each.general}
    found = {place: finding for place, each in enumerate(suspected) if (finding := _alone(chart, each)) is not None}
    if found.keys() <= general:
        found = {place: _smallest(chart, each) for place, each in found.items()} | dict(_together(chart, suspected))
    causes = (found[place].promise for place in found.keys() - general)
    best = max((min(promise) for promise in causes if promise), default=0.0)

    # Where all rows learned from are learned, what is left to gain is little, and less of it sets remedies apart.
    alike = NO_LESS if chart.case.own[0] > FITS else ALIKE

    def rank(place: int) -> tuple[bool, bool, int]:
        # What is about as good as the best comes in the order of causes, the rest after it; what is no cause, last.
        return place in general, min(found[place].promise or (-math.inf,)) < best - alike, place

    return [found[place] for place in sorted(found, key=rank)]


def _alone(chart: Chart, suspicion: Suspicion) -> Finding | None:
    """The suspicion as a finding, if a short trial with a remedy is surely better than the network as it is, or if it
    needs none.
    """
    found = _best(chart, suspicion, suspicion.remedies, [chart.case.own, *suspicion.beside])
    if found is None and not suspicion.general and suspicion.name not in RATES:
        # The remedy may bring to light that the rate is too high, as default starts do after ones next to 0.
        slower = [
            (replace(remedy, rate=1 / STEP), f"{words}, at a tenth of the learning rate")
            for remedy, words in suspicion.remedies
            if not remedy.stop and remedy.epochs == 1
        ]
        if slower:
            tenth = chart.tried(Remedy(rate=1 / STEP), TOO_HIGH)
            found = _best(chart, suspicion, slower, [chart.case.own, tenth])
    if found is None and suspicion.otherwise:
        return Finding(suspicion.name, suspicion.evidence, suspicion.otherwise)
    return found


def _best(
    chart: Chart, suspicion: Suspicion, remedies: Iterable[tuple[Remedy, str]], before: Sequence[Skills]
) -> Finding | None:
    best: Finding | None = None
    held = len(chart.case.held_out[1])
    for remedy, words in remedies:
        skills = chart.tried(remedy, suspicion.name)
        if not all(_surely_better(skills, each, remedy, suspicion, held) for each in before):
            continue
        if best is None or min(skills) > min(best.promise or skills) + NO_LESS:
            best = Finding(suspicion.name, suspicion.evidence, words, remedy, skills)
    return best


def _surely_better(now: Skills, before: Skills, remedy: Remedy, suspicion: Suspicion, held: int) -> bool:
    gains = [a - max(b, 0.0) for a, b in zip(now, before, strict=True)]
    by_chance = CHANCE / max(1, held)
    fits = gains[0] > suspicion.gain and gains[1] > max(BETTER_HELD, by_chance)
    generalises = gains[1] > max(BETTER, by_chance) and (remedy.stop or gains[0] > -WORSE) and not suspicion.fits_badly
    return fits or generalises


def _smallest(chart: Chart, finding: Finding) -> Finding:
    """With a remedy without those of its parts that add nothing."""
    remedy = finding.remedy
    if remedy is None:
        return finding
    skills = chart.tried(remedy, finding.name)
    for part in remedy.parts():
        less = remedy.lacking(part)
        if less.parts() and min(fewer := chart.tried(less, finding.name)) >= min(skills) - NO_LESS:
            remedy, skills = less, fewer
    return replace(finding, remedy=remedy, promise=skills, advice=told(remedy))


def _together(chart: Chart, suspected: Sequence[Suspicion]) -> Iterable[tuple[int, Finding]]:
    """Where no change alone helps: all that is suspected changed at once, and then no more than it takes."""
    parts = {
        place: each.remedies
        for place, each in enumerate(suspected)
        if not each.general and each.name not in RATES and each.remedies and each.remedies[0][0].epochs == 1
    }
    if not parts:
        return
    for choice in (0, -1) if any(len(remedies) > 1 for remedies in parts.values()) else (0,):
        all_of_it = {place: remedies[choice][0] for place, remedies in parts.items()}
        chosen = _pruned(chart, all_of_it)
        if chosen is None:
            continue
        kept, rate, skills = chosen
        remedy = replace(_union(kept.values()), rate=rate)
        for place in kept:
            others = " and ".join(suspected[other].name for other in kept if other != place)
            words = parts[place][choice][1] + (f", together with the remedy of {others}" if others else "")
            words += "" if rate == 1 else f", at {rate:g} times the learning rate"
            yield place, replace(_finding(suspected[place]), advice=words, remedy=remedy, promise=skills)
        if rate != 1:
            name = TOO_LOW if rate > 1 else TOO_HIGH
            place = next((p for p, each in enumerate(suspected) if each.name == name), len(suspected))
            first = suspected[min(kept)].name
            evidence = rate_evidence(chart, rate, skills, f"with the remedy of {first}, ")
            yield place, Finding(name, evidence, f"a learning rate {rate:g} times as high", remedy, skills)
        return


def _finding(suspicion: Suspicion) -> Finding:
    return Finding(suspicion.name, suspicion.evidence, "")


def _pruned(chart: Chart, remedies: dict[int, Remedy]) -> tuple[dict[int, Remedy], float, Skills] | None:
    """The fewest of the remedies that help together, from the last cause on; the multiple of the rate; the skills."""
    ladder = Chart(_union(remedies.values()).applied(chart.case)).ladder
    rate = max(ladder, key=lambda factor: (min(ladder[factor]), -abs(math.log(factor))))
    if min(ladder[1.0]) >= min(ladder[rate]) - NO_LESS:
        rate = 1.0
    skills = ladder[rate]
    before = [chart.case.own, max(chart.ladder.values(), key=min)]
    nothing_else, held = Suspicion("", "", ()), len(chart.case.held_out[1])
    if not all(_surely_better(skills, each, Remedy(), nothing_else, held) for each in before):
        return None
    kept = dict(remedies)
    for place in sorted(remedies, reverse=True):
        fewer = {other: remedy for other, remedy in kept.items() if other != place}
        if fewer and min(chart.tried(replace(_union(fewer.values()), rate=rate), TOGETHER)) >= min(skills) - NO_LESS:
            kept = fewer
    return kept, rate, skills


def _union(remedies: Iterable[Remedy]) -> Remedy:
    return reduce(Remedy.then, remedies, Remedy())
