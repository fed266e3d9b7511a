"""From text to functions that can be called."""

import ctypes
import gc
import math
import mmap
from pathlib import Path

import pytest

from backpass.native.engine import assembly, compile_text, load
from backpass.native.target import host, named

STATM = Path("/proc/self/statm")
TRIPLE = "define i64 @triple(i64 %x) {\n  %y = mul i64 %x, 3\n  ret i64 %y\n}\n"
LogarithmType = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
WholeType = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


@pytest.mark.parametrize("opt", [0, 1, 2, 3])
def test_compiled_code_does_what_its_text_says(opt):
    library = load(compile_text(TRIPLE, host(), opt))
    assert WholeType(library.address("triple"))(14) == 42


def test_equal_texts_give_equal_object_code():
    assert compile_text(TRIPLE, host()) == compile_text(TRIPLE, host())


def test_narrower_code_runs_here_too():
    if host().is_arm:
        pytest.skip("the machine has one width only")
    library = load(compile_text(TRIPLE, named("sse2")))
    assert WholeType(library.address("triple"))(5) == 15


def test_code_for_another_machine_is_made_but_for_reading():
    assert "triple:" in assembly(TRIPLE, named("arm64"))
    assert compile_text(TRIPLE, named("arm64")) != compile_text(TRIPLE, named("sse2"))


def test_libraries_have_their_own_functions_of_one_name():
    first = load(compile_text(TRIPLE, host()))
    second = load(compile_text(TRIPLE.replace("3", "5"), host()))
    assert (WholeType(first.address("triple"))(2), WholeType(second.address("triple"))(2)) == (6, 10)


def test_a_library_outlives_others_that_are_dropped():
    kept = load(compile_text(TRIPLE, host()))
    function = WholeType(kept.address("triple"))
    for _ in range(20):
        load(compile_text(TRIPLE, host())).address("triple")
        gc.collect()
    assert function(7) == 21


def test_the_memory_of_libraries_that_are_dropped_is_given_back():
    """A process that trains or loads networks one after the other does not grow by what links their code."""
    if not STATM.exists():
        pytest.skip("the system does not tell a process's memory as Linux does")
    code, pages = compile_text(TRIPLE, host()), []
    for _ in range(1200):
        load(code).address("triple")
        pages.append(int(STATM.read_text().split()[1]))
    assert (pages[-1] - pages[200]) * mmap.PAGESIZE < 2 << 20, "each takes 9 KB if nothing is given back"


def test_threads_give_way_under_one_name_on_every_system():
    text = "declare i32 @sched_yield()\ndefine i64 @go(i64 %x) {\n  %y = call i32 @sched_yield()\n  ret i64 %x\n}\n"
    assert WholeType(load(compile_text(text, host())).address("go"))(9) == 9


def test_functions_of_the_c_library_and_those_given_are_found():
    """log comes from the C library, `given` by its address, and memory is set through a call that LLVM itself adds."""
    text = (
        "declare double @log(double)\ndeclare double @given(double)\n"
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)\n"
        "define double @go(double %x) {\n  %p = alloca [4096 x i8]\n"
        "  call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 4096, i1 false)\n"
        "  %y = call double @log(double %x)\n  %z = call double @given(double %y)\n  ret double %z\n}\n"
    )

    @LogarithmType
    def given(x):
        return 100 + x

    address = ctypes.cast(given, ctypes.c_void_p).value
    library = load(compile_text(text, host()), {"given": address})
    assert LogarithmType(library.address("go"))(2.0) == 100 + math.log(2.0)


def test_a_function_that_is_not_there_is_named():
    with pytest.raises(LookupError, match="no function 'double'"):
        load(compile_text(TRIPLE, host())).address("double")


def test_code_that_calls_what_nobody_has_is_refused(capfd):
    body = "  %y = call i64 @missing_one(i64 %x)\n  ret i64 %y\n"
    text = f"declare i64 @missing_one(i64)\ndefine i64 @go(i64 %x) {{\n{body}}}\n"
    with pytest.raises(LookupError, match="no function 'go'"):
        load(compile_text(text, host())).address("go")
    assert "missing_one" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["define", "define i32 @f() { ret i64 1 }", "define void @f() { br label %nowhere }"])
def test_text_that_is_no_ir_is_refused_with_the_place(text):
    with pytest.raises(ValueError, match="error"):
        compile_text(text, host())


def test_text_that_parses_but_is_unsound_is_refused():
    """A value used before it is made: the parser takes it, the verifier does not."""
    text = "define i64 @f(i64 %x) {\n  %y = add i64 %z, 1\n  %z = add i64 %y, 1\n  ret i64 %z\n}\n"
    with pytest.raises(ValueError, match="dominate"):
        compile_text(text, host())


@pytest.mark.parametrize("code", [b"", b"no object", b"\x7fELF"])
def test_bytes_that_are_no_object_code_are_refused(code):
    with pytest.raises(ValueError, match="cannot be linked"):
        load(code)
