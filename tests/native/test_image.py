"""Object code as one piece: it computes what linked code computes, and what needs a linker is left to LLVM's."""

import ctypes
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.native import engine, llvm
from backpass.native.image import Mapped, image_of, mapped
from backpass.native.target import host, named

here = pytest.mark.skipif(sys.platform != "linux" or host().is_arm, reason="code is mapped on x86-64 Linux only")

POLYNOMIAL = """
declare double @twice(double)
define internal double @square(double %x) noinline nounwind {
  %y = fmul double %x, %x
  ret double %y
}
define double @polynomial(double %x) nounwind {
  %s = call double @square(double %x)
  %a = fmul double %s, 3.5
  %b = fadd double %a, -0.1
  %c = call double @twice(double %b)
  %d = call double @twice(double %c)
  ret double %d
}
define double @other(double %x) nounwind {
  %y = fadd double %x, 0.3
  ret double %y
}
"""
COUNTER = """
@count = global i64 0
define i64 @next() nounwind {
  %old = load i64, ptr @count
  %new = add i64 %old, 1
  store i64 %new, ptr @count
  ret i64 %new
}
"""
Number = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
TWICE = Number(lambda x: 2 * x)
FUNCTIONS = {"twice": ctypes.cast(TWICE, ctypes.c_void_p).value}


@pytest.fixture(scope="module")
def code():
    return engine.compile_text(POLYNOMIAL, host())


@here
def test_mapped_code_computes_what_linked_code_computes(code):
    quick, linked = mapped(code, FUNCTIONS), engine.Linked(code, FUNCTIONS)
    for name in ("polynomial", "other"):
        one, two = Number(quick.address(name)), Number(linked.address(name))
        for x in (-3.0, 0.0, 0.1, 1e10):
            assert one(x) == two(x)
    assert Number(quick.address("polynomial"))(2.0) == 4 * (3.5 * 4.0 - 0.1)


@here
def test_what_is_mapped_can_be_run_and_not_written(code):
    held = mapped(code, FUNCTIONS)
    ranges = [line.split()[:2] for line in Path("/proc/self/maps").read_text().splitlines()]
    [mode] = [mode for ends, mode in ranges if int(ends.split("-")[0], 16) <= held._start < int(ends.split("-")[1], 16)]
    assert mode == "r-xp"


@here
def test_a_function_that_is_not_there_is_named(code):
    with pytest.raises(LookupError, match="'third'"):
        mapped(code, FUNCTIONS).address("third")
    with pytest.raises(LookupError, match="'square'"):
        mapped(code, FUNCTIONS).address("square")  # internal


@here
def test_code_with_functions_that_nobody_has_is_not_mapped(code):
    assert mapped(code, {}) is None


@here
def test_code_with_data_of_its_own_is_linked():
    code = engine.compile_text(COUNTER, host())
    assert image_of(code) is None
    library = engine.load(code)
    assert isinstance(library, engine.Linked)
    following = ctypes.CFUNCTYPE(ctypes.c_int64)(library.address("next"))
    assert [following(), following()] == [1, 2]


def test_code_for_another_machine_is_no_image():
    assert image_of(engine.compile_text(POLYNOMIAL, named("arm64"))) is None


def test_each_call_of_a_function_of_others_goes_to_one_place():
    image = image_of(engine.compile_text(POLYNOMIAL, named("sse2")))
    assert set(image.wanted) == {"twice"}
    assert set(image.functions) == {"polynomial", "other"}
    assert image.content[image.wanted["twice"] :] == bytes(8)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_an_object_that_is_cut_or_changed_is_an_image_or_none(data):
    code = bytearray(OBJECT)
    for _ in range(data.draw(st.integers(0, 3))):
        code[data.draw(st.integers(0, len(code) - 1))] = data.draw(st.integers(0, 255))
    image_of(bytes(code[: data.draw(st.integers(0, len(code)))]))  # raises nothing


OBJECT = engine.compile_text(POLYNOMIAL, named("sse2"))


@here
def test_where_memory_cannot_be_made_executable_the_linker_is_asked(code, monkeypatch):
    def refuse(*_):
        raise OSError(13, "no")

    monkeypatch.setattr(Mapped, "__init__", refuse)
    assert isinstance(engine.load(code, FUNCTIONS), engine.Linked)


PROGRAM = """
import sys
import numpy as np
from backpass import losses, nn, optimizers
from backpass.training import Trainer
trainer = Trainer(nn.Sequential(nn.Dense(3), nn.ReLU(), nn.Dense(2)), losses.CrossEntropy(), optimizers.SGD(0.1))
trainer.fit(np.arange(12.0, dtype="f4").reshape(6, 2), np.arange(6) % 2, epochs=2)
print("llvmlite" in sys.modules, trainer.history[-1]["loss"])
"""


@here
def test_a_program_that_was_compiled_before_starts_without_llvm(tmp_path):
    environment = os.environ | {"BACKPASS_CACHE": str(tmp_path), "BACKPASS_CHECKED": "0"}  # checked code has data
    runs = [
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    (first, loss), (second, same) = (run.stdout.split() for run in runs)
    assert (first, second) == ("True", "False")
    assert loss == same


@pytest.fixture
def forgetful(tmp_path, monkeypatch):
    """As at a new start: what was asked before is known from the disk alone."""
    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path))

    def anew():
        llvm.facts.cache_clear()
        return llvm.facts()

    yield anew
    llvm.facts.cache_clear()


def test_what_llvm_said_is_remembered(forgetful, tmp_path):
    asked = forgetful()
    remembered = forgetful()
    assert asdict(asked) == asdict(remembered)
    assert asked.flags
    assert len(list(tmp_path.rglob("*.object"))) == (1 if Path("/proc/cpuinfo").exists() else 0)


@pytest.mark.parametrize("change", ["platform.machine", "processor"])
def test_llvm_is_asked_anew_on_another_machine(forgetful, monkeypatch, change):
    forgetful()
    if change == "processor":
        monkeypatch.setattr(llvm, "_PROCESSOR", ("another kind",))
    else:
        monkeypatch.setattr("platform.machine", lambda: "another")
    monkeypatch.setattr("llvmlite.binding.get_process_triple", lambda: "asked-again")
    assert forgetful().triple == "asked-again"
