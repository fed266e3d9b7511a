"""The story of one step: it is what its script makes, and its numbers can be worked out from one another."""

import ast
import importlib.util
import math
import operator
import re
import sys
import xml.etree.ElementTree as ET
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORY = ROOT / "docs" / "story.md"
PICTURES = sorted((ROOT / "docs" / "story").glob("*.svg"))
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@cache
def text_blocks():
    return re.findall(r"^```text\n(.*?)^```", STORY.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_story_and_its_pictures_are_what_the_script_makes(monkeypatch):
    """Every file, to the letter."""
    monkeypatch.setattr(sys, "path", sys.path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("make", ROOT / "docs" / "story" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    made = make.files()
    assert sorted(made) == sorted([STORY, *PICTURES])
    for path, text in made.items():
        assert text == path.read_text(encoding="utf-8"), f"{path.name}: run docs/story/make.py"


# A number stands for all that round to it: (least, greatest).


def as_shown(text):
    """With fewer than four digits it is exact."""
    value, digits = float(text), len(text.lstrip("-0.").replace(".", ""))
    half = 0.5 * 10.0 ** -len(text.partition(".")[2]) if digits > 3 else 0.0
    return value - half, value + half


def spread(operation, left, right):
    corners = [operation(a, b) for a in left for b in right]
    return min(corners), max(corners)


OPERATIONS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: pow,
}  # fmt: skip


def worked_out(text):
    """What a formula comes to, whatever was rounded in it; None where it is not one of numbers alone."""
    source = text.strip().replace("½", "0.5").replace("·", "*").replace("²", "**2")
    if not re.fullmatch(r"(?:[\d.()+\-*/ ]|exp)+", source):
        return None

    def of(node):
        if isinstance(node, ast.Constant):
            return as_shown(ast.get_source_segment(source, node))
        if isinstance(node, ast.UnaryOp):
            return tuple(-end for end in reversed(of(node.operand)))
        if isinstance(node, ast.Call):
            return tuple(map(math.exp, of(node.args[0])))
        return spread(OPERATIONS[type(node.op)], of(node.left), of(node.right))

    return of(ast.parse(source, mode="eval").body)


def test_every_equation_of_the_story_holds():
    """Two sides of a `=` that are numbers overlap, when each rounded one is taken for all that round to it."""
    checked = 0
    for line in re.sub(r"\n +=", " =", "".join(text_blocks())).splitlines():
        sides = [worked_out(side) for side in re.sub(r"^[a-z ]+:", "", line).split("=")]
        for left, right in pairwise(sides):
            if left and right:
                assert left[0] <= right[1] + 1e-12, line
                assert right[0] <= left[1] + 1e-12, line
                assert left[1] - left[0] < 0.02 * abs(right[0]) + 1e-12, line
                checked += 1
    assert checked == 35


def test_the_derivatives_of_the_table_are_products():
    """Each is the δ of its column times the number of its line; those of a bias are the δ."""
    (block,) = [each for each in text_blocks() if "petal width" in each and "virginica" in each and "δ" in each]
    checked, deltas = 0, []
    for line in block.splitlines():
        numbers = [as_shown(each) for each in NUMBER.findall(re.sub(r"hidden \d", "", line))]
        if line.startswith("δ"):
            deltas = numbers
        elif numbers:
            for delta, found in zip(deltas, numbers[1:], strict=True):
                least, greatest = spread(operator.mul, numbers[0], delta)
                assert least <= found[1] + 1e-12, line
                assert found[0] <= greatest + 1e-12, line
                checked += 1
    assert checked == 27


def test_what_the_story_calls_rounded_has_four_digits():
    """No number of the worked lines has more, but for the two errors whose difference is small."""
    numbers = [each for block in text_blocks() for each in NUMBER.findall(block)]
    long = [each for each in numbers if "." in each and len(each.lstrip("-0.").replace(".", "")) > 4]
    assert len(long) == 2


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small_and_readable_in_light_and_dark(path):
    """It is well formed, says what it is, loads nothing, and each colour has its light and its dark."""
    text = path.read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314 - it is ours
    assert root[0].text
    assert len(text) < 8_000
    light, dark = re.findall(r"svg\{(--[^}]*)\}", text)
    names, others = (re.findall(r"--(\w+):", each) for each in (light, dark))
    assert names == others
    assert set(re.findall(r"var\(--(\w+)\)", text)) == set(names)
    assert "prefers-color-scheme:dark" in text
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("name", ["forward.svg", "backward.svg"])
def test_the_numbers_of_a_picture_are_those_of_the_text(name):
    """What stands in and beneath nodes stands in the story, too."""
    words = re.sub(r"<(?:style|title).*?</|<[^>]*>|hidden \d", " ", (STORY.parent / "story" / name).read_text("utf-8"))
    told, shown = ([each.lstrip("-") for each in NUMBER.findall(text)] for text in ("".join(text_blocks()), words))
    assert len(shown) > 12
    assert [each for each in shown if each not in told] == []
