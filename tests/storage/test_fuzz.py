"""A short slice of tests/fuzz/fuzz_checkpoints.py, with every run of the tests."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "fuzz" / "fuzz_checkpoints.py"


def test_damaged_and_forged_checkpoints_are_read_or_named(tmp_path):
    """Of 1,500 changed checkpoints each is read, to what safetensors' library reads, or refused in one line."""
    pytest.importorskip("resource", reason="the fuzzing script bounds memory as Unix does")
    described = importlib.util.spec_from_file_location("fuzz_checkpoints", SCRIPT)
    fuzz = importlib.util.module_from_spec(described)
    described.loader.exec_module(fuzz)
    files = fuzz.seeds()
    ends = Counter(fuzz.run_case(tmp_path, fuzz.case(number, 1, files)) for number in range(1500))
    assert ends["read"] > 25
    assert ends["no checkpoint,"] > 25
    assert ends["damaged: not"] > 250
