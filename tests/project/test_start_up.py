"""Starting is quick, because nothing is imported before it is used."""

import gc
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("numpy", "polars", "rich", "safetensors", "llvmlite", "click", "starlette", "uvicorn")


def modules_after(code):
    """The names of all modules there are once `code` has run in a fresh interpreter."""
    program = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(finished.stdout.split())


def best_seconds(*command):
    """The shortest of five runs: what it takes when the machine has nothing else to do."""
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - started)
    return min(taken)


def test_import_brings_nothing_heavy():
    """`import backpass` imports none of the packages it depends on."""
    assert modules_after("import backpass") & set(HEAVY) == set()


def test_the_command_brings_only_its_parser():
    """The command's own modules need click alone."""
    assert modules_after("import backpass.cli.main") & set(HEAVY) == {"click"}


@pytest.mark.parametrize("code", ["import backpass.cli.main", "import backpass\nbackpass.Trainer\nbackpass.load"])
def test_the_compiler_is_imported_when_something_is_compiled(code):
    """Neither the command's start nor the Trainer's brings any of it."""
    assert [name for name in modules_after(code) if name.startswith("backpass.native")] == []


@pytest.mark.parametrize("name", ["nn", "ops", "losses", "optimizers", "training", "Trainer", "grad", "train", "load"])
def test_a_room_is_imported_when_it_is_used(name):
    """Networks and training on arrays need NumPy; tables and files are what brings polars and safetensors."""
    brought = modules_after(f"import backpass\nbackpass.{name}") & set(HEAVY)
    assert brought == {"numpy"}


def test_import_takes_under_150_ms():
    """`import backpass`, the interpreter's own start included."""
    assert best_seconds(sys.executable, "-c", "import backpass") < 0.15


def test_help_takes_under_300_ms():
    """`backpass --help`, the interpreter's own start included."""
    assert best_seconds(Path(sys.executable).with_name("backpass"), "--help") < 0.3


def test_the_command_looks_less_often_for_garbage_and_a_caller_in_python_decides_by_itself():
    """Collections among the objects of imports took a good part of a short command; in others' processes all stays."""
    code = "import gc, sys\nfrom backpass.cli.main import main\ntry:\n    main({})\nexcept SystemExit:\n    pass\n"
    code += "print(gc.get_threshold()[0])"
    found = [
        subprocess.run(
            [sys.executable, "-c", code.format(arguments), "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        for arguments in ("", "['--version']")
    ]
    assert found == ["100000", str(gc.get_threshold()[0])]
