"""Mutation testing: changes the code in one small place at a time, and sees whether the tests notice.

    python tests/mutation/mutate.py --each 150 --seed 0 --out mutants.json
    python tests/mutation/mutate.py --again mutants.json --seconds 90 --out survivors.json

Of each group in GROUPS it draws so many mutants (0: all). A mutant whose tests all pass survived: either no test looks
there, which is a gap, or nothing changed that a user could see. `--again` judges the survivors of an earlier run once
more, with more tests; `--only ops/erf.py:42` the mutants of one line. What is changed, and what is not, stands in
mutants.py.

The checkout is never touched: a copy of src/ is mutated, in a folder of its own that --work names. Which tests call
which function is found once, by a run of all TESTS (ten minutes; kept in the work folder as calls.json, made anew with
--anew, and by itself where tests or the code that is mutated have changed). A mutant meets those that call its
function, the quick ones before the slow, until about --seconds of tests are chosen.

On a machine that others use, `--minutes 2` ends after about so long, and the same command with `--go-on` goes on.

A mutant inside of a function is judged in a fork of a process that has collected all tests already, by giving the
function its new code. One outside of functions, and one that is judged again, is judged in a fork of a process that has
not imported backpass yet. A test that kills, but fails without a change as well, is left out, and its mutants are
judged once more. It needs a system with fork.
"""

# ruff: noqa: T201  (a script that talks)
from __future__ import annotations

import argparse
import gc
import hashlib
import json
import math
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
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from functions import Functions
from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "backward": ("backward/*.py",),
    "ops": ("ops/*.py",),
    "optimizers": ("optimizers/*.py",),
    "training": tuple(f"training/{name}.py" for name in ("checkpoints", "snapshots", "saving", "executors")),
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
FEW = 30
AGAIN, ELSEWHERE = 0.02, 0.2
"""Seconds by which a test is put behind others: for each of the same function before it, and if it stands elsewhere."""

LONGEST = 10.0
"""Seconds: longer tests are left out."""

GIGABYTES = 12
"""Of addresses, for a mutant that asks for too much."""

LOOKS = 0.01
"""Seconds between looks at a process that judges a mutant."""

Run = Callable[[list[str]], tuple[int, Any]]
"""Runs the named tests: pytest's status, and the names of those that failed."""


class Copy:
    """A copy of src/ in which one file at a time is mutated."""

    def __init__(self, work: Path) -> None:
        self.src = work / "src"
        shutil.rmtree(self.src, ignore_errors=True)
        shutil.copytree(ROOT / "src", self.src, ignore=shutil.ignore_patterns("__pycache__"))
        for path in self.src.rglob("*.py"):  # known by their content: files written in one second are told apart
            py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        self.package = self.src / "backpass"

    def files(self) -> Iterator[tuple[str, str, bytes]]:
        """Those that are mutated: group, name and content."""
        for group, patterns in GROUPS.items():
            for path in sorted(path for pattern in patterns for path in self.package.glob(pattern)):
                name = path.relative_to(self.package).as_posix()
                if name not in LEFT_OUT and path.name != "__init__.py":
                    yield group, name, path.read_bytes()

    def mutants(self) -> list[Mutant]:
        return [mutant for file in self.files() for mutant in mutants_of(*file)]

    @contextmanager
    def holding(self, mutant: Mutant) -> Iterator[tuple[Path, bytes, bytes]]:
        """Its file is the mutated one: the path, and what stood and stands in it."""
        path = self.package / mutant.file
        source = path.read_bytes()
        path.write_bytes(mutant.of(source))
        try:
            yield path, source, mutant.of(source)
        finally:
            path.write_bytes(source)


class Chosen:
    """A plugin of pytest: runs the named tests only, in this order; hypothesis does not look for smaller examples.

    Tests whose names are not among the `known` have got them from the mutant, and come first.
    """

    def __init__(self, names: Collection[str], known: Collection[str]) -> None:
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


class Collected(Chosen):
    """A plugin of pytest: in place of running the tests it calls `use`, which runs some with `run`."""

    def __init__(self, names: Collection[str], use: Callable[[Collected], None]) -> None:
        super().__init__(names, names)
        self.use = use
        self.items: dict[str, pytest.Item] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self.use(self)
        return True

    def run(self, names: list[str], *, to_the_end: bool) -> tuple[int, list[str]]:
        items = [self.items[name] for name in names if name in self.items]
        if items:
            items[0].config.pluginmanager.unregister(name="terminalreporter")
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.found and not to_the_end:
                break
        return int(bool(self.found)), self.found


class Calls:
    """A plugin of pytest: notes for each test how long it takes and which functions of the copy it calls."""

    def __init__(self, package: Path) -> None:
        self.package = f"{package}{os.sep}"
        self.seconds: dict[str, float] = {}
        self.tests: dict[str, list[str]] = defaultdict(list)
        self.failed: list[str] = []
        self.found = {"seconds": self.seconds, "tests": self.tests, "failed": self.failed}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        seen = set()

        def note(frame: Any, *_: object) -> None:
            seen.add(frame.f_code)

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


def run_pytest(work: Path, src: Path, arguments: list[str], plugin: Any) -> tuple[int, Any]:
    """In this process: pytest with the copy's backpass. Its status, and what the plugin found."""
    os.environ |= {"PYTHONPATH": str(src), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(src))
    os.chdir(ROOT)
    import backpass

    assert Path(backpass.__file__).is_relative_to(src)
    usual = ["-q", "--numprocesses=0", "-p", "no:cacheprovider", "--no-header", "--tb=short"]
    usual += [f"--basetemp={work / 'tmp'}", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    status = int(pytest.main([*usual, *arguments], [plugin]))
    return status, plugin.found


def in_a_fork(work: Path, run: Callable[[], tuple[int, Any]], most: float) -> tuple[str, Any]:
    """How `run` ends in a process of its own ("passed", or how it did not), and what it found."""
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
            result = run()
            sys.stdout.flush()
            end.write_text(json.dumps(result))
        except BaseException as error:  # noqa: BLE001 - a mutant may break anything
            end.write_text(json.dumps([1, [repr(error)]]))
        finally:
            os._exit(0)
    for _ in range(round(most / LOOKS)):  # counted, so that no time passes while both of them are stopped
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(LOOKS)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "too long", []
    if not end.exists():
        return "crashed", []
    status, found = json.loads(end.read_text())
    return {0: "passed", 1: "failed", 5: "no tests"}.get(status, "broken"), found


def calls(work: Path, copied: Copy, *, anew: bool, stop: float) -> dict[str, dict]:
    """Which tests call which function ("ops/erf.py:24", by its first line), and how long they take."""
    path = work / "calls.json"
    kept = {} if anew or not path.exists() else json.loads(path.read_text())
    sources = b"".join(content for *_, content in copied.files())
    seconds: dict[str, float] = {}
    tests: dict[str, list[str]] = defaultdict(list)
    failed = []
    for file in sorted(file for place in TESTS for file in [ROOT / place, *(ROOT / place).glob("test_*.py")]):
        if file.is_dir():
            continue
        name, digest = file.relative_to(ROOT).as_posix(), hashlib.sha256(file.read_bytes() + sources).hexdigest()
        if kept.get(name, {}).get("digest") != digest:
            if time.monotonic() > stop:
                sys.exit("the time is over before it is known which tests call which function: go on with --go-on")
            kept[name] = _calls_of(work, copied, name) | {"digest": digest}
            path.write_text(json.dumps(kept))
        seconds |= kept[name]["seconds"]
        failed += kept[name]["failed"]
        for function, names in kept[name]["tests"].items():
            tests[function] += names
    names = dict.fromkeys(seconds)
    for name in failed:
        print(f"fails without a change, and is left out: {name}")
        seconds.pop(name, None)
    return {"seconds": seconds, "tests": tests, "names": names}


def _calls_of(work: Path, copied: Copy, file: str) -> dict[str, Any]:
    noted = Calls(copied.package)
    end, found = in_a_fork(work, lambda: run_pytest(work, copied.src, [file], noted), 3600)
    if end not in {"passed", "failed"}:
        sys.exit(f"the tests of {file} cannot be run, see {work / 'out.txt'}")
    return found


def tests_for(mutant: Mutant, known: dict[str, dict], seconds: float) -> list[str]:
    """Those that call its function, as many as fit into so many seconds.

    Outside of functions, and where few call it (what is cached is called once in each file of tests), then those that
    call any of its file; outside of functions also all that stand where tests of its group do.
    """
    took, home = known["seconds"], f"tests/{HOME[mutant.group]}/"
    direct = set(known["tests"].get(f"{mutant.file}:{mutant.owner}", []))
    names = set(direct)
    if len(names) < FEW:
        names |= {
            name for place, some in known["tests"].items() if place.startswith(f"{mutant.file}:") for name in some
        }
    if len(names) < FEW or not mutant.owner:
        names |= {name for name in took if name.startswith(home)}
    rounds: Counter[str] = Counter()
    order = []
    for name in sorted(names & set(took), key=lambda name: (took[name], name)):
        function = name.partition("[")[0]
        late = took[name] + AGAIN * rounds[function] + (0.0 if name.startswith(home) else ELSEWHERE)
        order.append((name not in direct, late, name))
        rounds[function] += 1
    chosen, sum_ = [], 0.0
    for *_, name in sorted(order):
        if took[name] < LONGEST and sum_ + took[name] < seconds:
            chosen.append(name)
            sum_ += took[name]
    return chosen


class Bench:
    """Judges mutants, and keeps what became of them in a file."""

    def __init__(
        self, work: Path, copied: Copy, known: dict[str, dict], out: Path, seconds: float, stop: float
    ) -> None:
        self.work, self.copied, self.known, self.out, self.seconds, self.stop = work, copied, known, out, seconds, stop
        self.found: list[dict] = []
        self.screen = os.fdopen(os.dup(1), "w")

    def load(self) -> None:
        self.found = json.loads(self.out.read_text()) if self.out.exists() else []

    def left(self, drawn: list[Mutant]) -> list[Mutant]:
        """Those not judged yet."""
        done = {as_mutant(each).place for each in self.found}
        return [mutant for mutant in drawn if mutant.place not in done]

    def in_time(self, mutants: list[Mutant]) -> Iterator[Mutant]:
        """As many of these as there is time for."""
        return takewhile(lambda _: time.monotonic() < self.stop, mutants)

    def judge_afresh(self, drawn: list[Mutant]) -> None:
        """Each in a process that imports the mutated file."""

        def run(names: list[str], *first: str) -> tuple[int, Any]:
            files = dict.fromkeys(name.partition("::")[0] for name in names)
            return run_pytest(self.work, self.copied.src, [*first, *files], Chosen(names, self.known["names"]))

        while (left := self.left(drawn)) and time.monotonic() < self.stop:
            for mutant in self.in_time(left):
                with self.copied.holding(mutant):
                    self._judge(mutant, lambda names: run(names, "-x"))
            self._without_a_change(run)

    def judge_collected(self, drawn: list[Mutant]) -> None:
        """Those inside of functions, by tests that are collected once. Some are left."""
        collected = Collected(self.known["names"], lambda session: self._with(session, drawn))
        end, _ = in_a_fork(self.work, lambda: run_pytest(self.work, self.copied.src, TESTS, collected), 24 * 3600)
        if end != "passed":
            sys.exit(f"the tests cannot be collected, see {self.work / 'out.txt'}")
        self.load()

    def _with(self, collected: Collected, drawn: list[Mutant]) -> None:
        functions = Functions(self.copied.package)
        gc.freeze()

        def run(names: list[str]) -> tuple[int, Any]:
            done = functions.exchange(*change)
            return collected.run(names, to_the_end=False) if done else (2, None)

        for mutant in self.in_time([mutant for mutant in self.left(drawn) if mutant.owner]):
            with self.copied.holding(mutant) as change:
                self._judge(mutant, run)
        self._without_a_change(lambda names: collected.run(names, to_the_end=True))

    def _judge(self, mutant: Mutant, run: Run) -> None:
        """Run the tests for a mutant; it is left where `run` found None."""
        names, started = tests_for(mutant, self.known, self.seconds), time.monotonic()
        most = 60 + 6 * sum(self.known["seconds"][name] for name in names)
        end, failed = in_a_fork(self.work, lambda: run(names), most) if names else ("no tests", [])
        if failed is None:
            return
        took, by = round(time.monotonic() - started, 2), "".join(failed[:1])
        found = {"end": end, "by": by, "tests": len(names), "seconds": took, "sound": not by}
        self.found.append(asdict(mutant) | found)
        self._save()
        print(f"{len(self.found)} {took:5.1f} s  {end:8}  {mutant}  {by}", file=self.screen, flush=True)

    def _without_a_change(self, run: Run) -> None:
        """Take back what was killed by tests that fail without a change as well: they prove nothing."""
        killers = sorted({each["by"] for each in self.found if not each["sound"]} & set(self.known["seconds"]))
        failed = in_a_fork(self.work, lambda: run(killers), 3600)[1] if killers else []
        for name in failed:
            print(f"fails without a change too, and is left out: {name}", file=self.screen, flush=True)
            self.known["seconds"].pop(name, None)
        self.found = [each | {"sound": True} for each in self.found if each["by"] not in failed]
        self._save()

    def _save(self) -> None:
        self.out.write_text(json.dumps(self.found, indent=1))


def as_mutant(found: dict) -> Mutant:
    return Mutant(**{name: found[name] for name in Mutant.__dataclass_fields__ if name in found})


def warm() -> None:
    """Import what tests need, but nothing of backpass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("numpy", "hypothesis", "torch", "llvmlite.binding", "safetensors.numpy", "threadpoolctl"):
            try:
                __import__(name)
            except ImportError:
                print(f"without {name}")


def chosen_mutants(options: argparse.Namespace, copied: Copy) -> list[Mutant]:
    everything = copied.mutants()
    if options.again:
        left = json.loads(options.again.read_text())
        places = {as_mutant(each).place for each in left if each["end"] in SURVIVED}
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
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of tests, as they take without a change")
    parser.add_argument("--work", type=Path, help="a folder for the copy and what is kept from run to run")
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    parser.add_argument("--again", type=Path, help="the survivors in this file")
    parser.add_argument("--only", help="the mutants of one file or line, as ops/erf.py:42")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which it ends, to go on with --go-on")
    parser.add_argument("--go-on", action="store_true", help="keep what --out holds already")
    parser.add_argument("--anew", action="store_true", help="find anew which tests call which function")
    options = parser.parse_args()
    stop = time.monotonic() + 60 * options.minutes
    work = (options.work or Path(tempfile.gettempdir()) / "backpass-mutants").resolve()
    work.mkdir(parents=True, exist_ok=True)
    copied = Copy(work)
    warm()
    known = calls(work, copied, anew=options.anew and not options.go_on, stop=stop)
    bench = Bench(work, copied, known, options.out.resolve(), options.seconds, stop)
    drawn = chosen_mutants(options, copied)
    if options.go_on:
        bench.load()
    else:
        bench.out.unlink(missing_ok=True)
    if not options.again:
        bench.judge_collected(drawn)
    bench.judge_afresh(drawn)
    if left := bench.left(drawn):
        print(f"{len(left)} mutants are left: go on with --go-on")
    for group in GROUPS:
        ends = Counter(m["end"] in SURVIVED for m in bench.found if m["group"] == group)
        if ends:
            print(f"{group}: of {ends.total()} mutants {ends[False]} killed, {ends[True]} survived")


if __name__ == "__main__":
    main()
