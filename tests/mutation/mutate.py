"""Mutation testing: changes the code in one small place at a time, and sees whether the tests notice.

    python tests/mutation/mutate.py --each 150 --seed 0 --out mutants.json
    python tests/mutation/mutate.py --again mutants.json --seconds 90

Of each group in GROUPS it draws so many mutants (0: all). A mutant whose tests all pass survived: either no test looks
there, which is a gap, or nothing that a user could see changed. `--again` runs the survivors of an earlier run, with
more tests; `--only ops/erf.py:42` the mutants of one line.

The checkout is never touched: a copy of src/ is mutated, in a folder of its own that --work names. Which tests call
which function is found once, by a run of all TESTS (about ten minutes; kept in the work folder as calls.json, made anew
with --anew). A mutant meets those that call its function, the quick ones before the slow, until about --seconds of
tests are chosen. One process that has imported all but backpass forks for each mutant. It needs a system with fork.

What is changed, and what is not, stands in mutants.py. A test that kills, but fails without a change as well, is left
out, and its mutants are judged again.
"""

# ruff: noqa: T201  (a script that talks)
from __future__ import annotations

import argparse
import json
import os
import py_compile
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "backward": ("backward/*.py",),
    "ops": ("ops/*.py",),
    "optimizers": ("optimizers/*.py",),
    "training": ("training/checkpoints.py", "training/saving.py", "training/executors.py"),
}
HOME = {"backward": "engine", "ops": "engine", "optimizers": "optimizers", "training": "training"}
"""Where the tests of a group stand: they come first."""

LEFT_OUT = {"ops/samples.py", "ops/catalogue.py"}
TESTS = [
    "tests/engine", "tests/optimizers", "tests/training", "tests/storage", "tests/losses", "tests/nn",
    "tests/native/test_ops_native.py", "tests/native/test_executor.py", "tests/native/test_steps_native.py",
    "tests/native/test_random.py", "tests/native/test_programs.py", "tests/native/test_explain.py",
]  # fmt: skip
SURVIVED = {"passed", "no tests"}
FEW = 5
AGAIN, ELSEWHERE = 0.02, 0.2
"""Seconds by which a test is put behind others: for each of the same function before it, and if it stands elsewhere."""

LONGEST = 10.0
"""Seconds: longer tests are left out."""

GIGABYTES = 12
"""Of addresses, for a mutant that asks for too much."""


class Copy:
    """A copy of src/ in which one file at a time is mutated."""

    def __init__(self, work: Path) -> None:
        self.src = work / "src"
        shutil.rmtree(self.src, ignore_errors=True)
        shutil.copytree(ROOT / "src", self.src, ignore=shutil.ignore_patterns("__pycache__"))
        for path in self.src.rglob("*.py"):  # known by their content: files written in one second are told apart
            py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        self.package = self.src / "backpass"

    def mutants(self) -> list[Mutant]:
        found = []
        for group, patterns in GROUPS.items():
            for path in sorted(path for pattern in patterns for path in self.package.glob(pattern)):
                name = path.relative_to(self.package).as_posix()
                if name not in LEFT_OUT and path.name != "__init__.py":
                    found += mutants_of(group, name, path.read_bytes())
        return found


class Chosen:
    """A plugin of pytest: runs the named tests only, in this order; hypothesis does not look for smaller examples.

    Tests whose names are not among the `known` have got them from the mutant, and come first.
    """

    def __init__(self, names: list[str], known: Collection[str]) -> None:
        self.places = {name: place for place, name in enumerate(names)}
        self.known = known
        self.found: list[str] = []  # the tests that failed

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile("mutation", settings.default, phases=[Phase.explicit, Phase.generate], database=None)
        settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self.places or item.nodeid not in self.known]
        items[:] = sorted(chosen, key=lambda item: self.places.get(item.nodeid, -1))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.found.append(report.nodeid)


class Calls:
    """A plugin of pytest: notes for each test how long it takes and which functions of the copy it calls."""

    def __init__(self, package: Path) -> None:
        self.package = f"{package}{os.sep}"
        self.seconds: dict[str, float] = {}
        self.tests: dict[str, list[str]] = defaultdict(list)
        self.found = {"seconds": self.seconds, "tests": self.tests}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        seen = set()

        def note(frame: object, *_: object) -> None:
            seen.add(frame.f_code)  # type: ignore[attr-defined]

        threading.settrace(note)
        sys.settrace(note)
        started = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - started
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        files = {(c.co_filename, c.co_firstlineno) for c in seen if c.co_filename.startswith(self.package)}
        for file, line in files:
            self.tests[f"{file.removeprefix(self.package)}:{line}"].append(item.nodeid)
        return result


def run_pytest(work: Path, src: Path, arguments: list[str], plugin: object) -> int:
    """In this process: pytest with the copy's backpass."""
    os.environ |= {"PYTHONPATH": str(src), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(src))
    os.chdir(ROOT)
    import backpass

    assert Path(backpass.__file__).is_relative_to(src)
    usual = ["-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", f"--basetemp={work / 'tmp'}"]
    usual += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*usual, *arguments], [plugin]))


def in_a_fork(work: Path, src: Path, arguments: list[str], plugin: Chosen | Calls, most: float) -> tuple[str, Any]:
    """How a run of pytest in a process of its own ends ("passed", or how it did not), and what the plugin found."""
    end = work / "end.json"
    end.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
            resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30, GIGABYTES << 30))
            out = os.open(work / "out.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            status = run_pytest(work, src, arguments, plugin)
            sys.stdout.flush()
            end.write_text(json.dumps([status, plugin.found]))
        except BaseException as error:  # noqa: BLE001 - a mutant may break anything
            end.write_text(json.dumps([1, [repr(error)]]))
        finally:
            os._exit(0)
    stop = time.monotonic() + most
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > stop:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "too long", []
        time.sleep(0.01)
    if not end.exists():
        return "crashed", []
    status, found = json.loads(end.read_text())
    return {0: "passed", 1: "failed", 5: "no tests"}.get(status, "broken"), found


def calls(work: Path, copied: Copy, *, anew: bool) -> dict[str, dict]:
    """Which tests call which function ("ops/erf.py:24", by its first line), and how long they take."""
    path = work / "calls.json"
    if anew or not path.exists():
        status, found = in_a_fork(work, copied.src, ["-x", *TESTS], Calls(copied.package), 3600)
        if status != "passed":
            sys.exit(f"the tests do not pass without a change, see {work / 'out.txt'}")
        path.write_text(json.dumps(found))
    found = json.loads(path.read_text())
    return found | {"names": dict.fromkeys(found["seconds"])}


def tests_for(mutant: Mutant, known: dict[str, dict], seconds: float) -> list[str]:
    """Those that call its function, as many as fit into so many seconds.

    Outside of functions, and where few call it (what is cached is called once), those that call any of its file.
    """
    took, home = known["seconds"], f"tests/{HOME[mutant.group]}/"
    names = set(known["tests"].get(f"{mutant.file}:{mutant.owner}", []))
    if len(names) < FEW:
        names |= {
            name for place, some in known["tests"].items() if place.startswith(f"{mutant.file}:") for name in some
        }
    if len(names) < FEW:
        names |= {name for name in took if name.startswith(home)}
    rounds: Counter[str] = Counter()
    order = []
    for name in sorted(names & set(took), key=lambda name: (took[name], name)):
        function = name.partition("[")[0]
        late = took[name] + AGAIN * rounds[function] + (0.0 if name.startswith(home) else ELSEWHERE)
        order.append((late, name))
        rounds[function] += 1
    chosen, sum_ = [], 0.0
    for _, name in sorted(order):
        if took[name] < LONGEST and sum_ + took[name] < seconds:
            chosen.append(name)
            sum_ += took[name]
    return chosen


def judge(work: Path, copied: Copy, mutant: Mutant, known: dict[str, dict], seconds: float) -> dict:
    """What became of a mutant."""
    names = tests_for(mutant, known, seconds)
    expected = sum(known["seconds"][name] for name in names)
    end, failed, started = "no tests", [], time.monotonic()
    if names:
        path = copied.package / mutant.file
        source = path.read_bytes()
        path.write_bytes(mutant.of(source))
        try:
            end, failed = in_a_fork(
                work, copied.src, ["-x", *_files(names)], Chosen(names, known["names"]), 60 + 6 * expected
            )
        finally:
            path.write_bytes(source)
    lasted = round(time.monotonic() - started, 2)
    return {**asdict(mutant), "end": end, "by": "".join(failed[:1]), "tests": len(names), "seconds": lasted}


def _files(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name.partition("::")[0] for name in names))


def failing_anyway(work: Path, copied: Copy, killers: list[str], known: Collection[str]) -> list[str]:
    """Those of the tests that killed which fail without a change as well: they prove nothing."""
    return in_a_fork(work, copied.src, _files(killers), Chosen(killers, known), 3600)[1] if killers else []


def warm() -> None:
    """Import what tests need, but nothing of backpass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("numpy", "hypothesis", "torch", "llvmlite.binding", "safetensors.numpy", "threadpoolctl"):
            try:
                __import__(name)
            except ImportError:
                print(f"without {name}")


def _mutant(found: dict) -> Mutant:
    return Mutant(**{name: found[name] for name in Mutant.__dataclass_fields__})


def chosen_mutants(options: argparse.Namespace, copied: Copy) -> list[Mutant]:
    everything = copied.mutants()
    if options.again:
        left = json.loads(options.again.read_text())
        places = {_mutant(each).place for each in left if each["end"] in SURVIVED}
        return [m for m in everything if m.place in places]
    if options.only:
        return [m for m in everything if f"{m.file}:{m.line}".startswith(options.only)]
    drawn = []
    for group in options.groups:
        own = [m for m in everything if m.group == group]
        number = min(options.each or len(own), len(own))
        print(f"{group}: {len(own)} mutants, {number} drawn")
        drawn += random.Random(f"{options.seed} {group}").sample(own, number)
    return random.Random(options.seed).sample(drawn, len(drawn))


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutation testing of backpass.")
    parser.add_argument("--each", type=int, default=150, help="mutants drawn of each group; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=15.0, help="of tests, as they take without a change")
    parser.add_argument("--work", type=Path, help="a folder for the copy and what is kept from run to run")
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    parser.add_argument("--again", type=Path, help="the survivors in this file")
    parser.add_argument("--only", help="the mutants of one file or line, as ops/erf.py:42")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--go-on", action="store_true", help="keep what --out holds already")
    parser.add_argument("--anew", action="store_true", help="find anew which tests call which function")
    options = parser.parse_args()
    work = (options.work or Path(tempfile.gettempdir()) / "backpass-mutants").resolve()
    work.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()
    copied = Copy(work)
    warm()
    known = calls(work, copied, anew=options.anew)
    drawn = chosen_mutants(options, copied)
    found = json.loads(out.read_text()) if options.go_on and out.exists() else []
    while True:
        done = {_mutant(each).place for each in found}
        for number, mutant in enumerate(drawn, 1):
            if mutant.place not in done:
                found.append(last := judge(work, copied, mutant, known, options.seconds))
                print(
                    f"{number}/{len(drawn)} {last['seconds']:5.1f} s  {last['end']:8}  {mutant}  {last['by']}",
                    flush=True,
                )
                out.write_text(json.dumps(found, indent=1))
        killers = sorted({each["by"] for each in found} & set(known["seconds"]))
        unsure = failing_anyway(work, copied, killers, known["names"])
        for name in unsure:
            print(f"fails without a change too, and is left out: {name}")
            known["seconds"].pop(name, None)
        found = [each for each in found if each["by"] not in unsure]
        if not unsure:
            break
    for group in GROUPS:
        ends = Counter(m["end"] in SURVIVED for m in found if m["group"] == group)
        if ends:
            print(f"{group}: of {ends.total()} mutants {ends[False]} killed, {ends[True]} survived")


if __name__ == "__main__":
    main()
