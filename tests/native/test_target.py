"""Targets: told by flags, with the vectors that the flags allow."""

import subprocess
import sys

import pytest

from backpass.native.engine import assembly
from backpass.native.ir import F32, F64, I8
from backpass.native.target import described, host, named

LINUX = "x86_64-unknown-linux-gnu"
AVX2 = {"avx", "avx2", "fma", "f16c", "bmi", "bmi2"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("name", "bits", "registers", "fused"),
    [("sse2", 128, 16, False), ("avx2", 256, 16, True), ("avx512", 512, 32, True), ("arm64", 128, 32, True)],
)
def test_a_named_target_has_the_vectors_of_its_kind(name, bits, registers, fused):
    target = named(name)
    assert (target.vector_bits, target.registers, target.fused) == (bits, registers, fused)
    assert target.cpu == ""
    assert (target.lanes(F32), target.lanes(F64), target.lanes(I8)) == (bits // 32, bits // 64, bits // 8)


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="choose one of sse2, avx2, avx512, arm64"):
        named("altivec")


def test_wide_vectors_need_every_part_of_avx512():
    for part in ("avx512f", "avx512bw", "avx512dq", "avx512vl"):
        target = described(LINUX, AVX512 - {part, "sse4.2"})
        assert target.vector_bits == 256
        assert "avx512" not in target.features


def test_vectors_of_256_bits_need_fused_multiply_add():
    """A machine with AVX2 but without FMA, or the other way round, gets 128 bits; FMA is used where it is."""
    assert (described(LINUX, AVX2 - {"fma"}).vector_bits, described(LINUX, AVX2 - {"fma"}).fused) == (128, False)
    assert (described(LINUX, AVX2 - {"avx2"}).vector_bits, described(LINUX, AVX2 - {"avx2"}).fused) == (128, True)


def test_flags_of_no_use_to_numbers_make_no_difference():
    assert described(LINUX, AVX2 | {"sgx", "amx-tile", "aes", "rdpid"}) == described(LINUX, AVX2)


def test_this_machine_is_described_the_same_every_time():
    assert host() is host()
    assert host().vector_bits in (128, 256, 512)
    assert "amx" not in host().features


@pytest.mark.parametrize(("name", "register"), [("sse2", "xmm"), ("avx2", "ymm"), ("avx512", "zmm"), ("arm64", "v")])
def test_the_code_really_uses_registers_of_that_width(name, register):
    """One vector of the target's own width is added in one instruction."""
    target = named(name)
    vector = F32.vector(target.lanes(F32)).text
    text = (
        f"define void @double(ptr %p) {{\n  %a = load {vector}, ptr %p, align 4\n"
        f"  %b = fadd {vector} %a, %a\n  store {vector} %b, ptr %p, align 4\n  ret void\n}}\n"
    )
    added = [line for line in assembly(text, target).splitlines() if "addps" in line or "fadd" in line]
    assert len(added) == 1
    assert register in added[0]


def test_backpass_and_the_native_modules_are_imported_without_llvm():
    modules = ("target", "engine", "cache", "quota", "barrier", "workers")
    imports = ", ".join(f"backpass.native.{module}" for module in modules)
    code = f"import sys, {imports}; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
