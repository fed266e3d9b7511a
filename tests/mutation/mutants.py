"""The mutants of a file: every small change that mutate.py makes.

Operators are swapped, comparisons shifted and turned, conditions negated, constants changed, statements dropped, values
that are returned or handed on by keyword replaced by None.

Not mutated: texts of errors, annotations, decorators, imports, what an operation says of its tests (`samples`) and of
what it costs (`cost`, by which the compiler chooses the quicker of two equal ways).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

SWAPPED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr, ast.MatMult: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
TEST_DATA = {"_cases", "_booleans", "_PAIR"}
"""Names of what makes samples."""


@dataclass(frozen=True)
class Mutant:
    """One change: in `file`, bytes from `start` to `stop` become `new`. `owner` is the line of the function around."""

    group: str
    file: str
    line: int
    owner: int
    start: int
    stop: int
    old: str
    new: str
    is_statement: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {self.old}  ->  {self.new}"

    @property
    def place(self) -> tuple[str, int, int, str]:
        return self.file, self.start, self.stop, self.new

    def of(self, source: bytes) -> bytes:
        """The file with the change in it; what follows stays in its line."""
        lost = "\n" * source[self.start : self.stop].count(b"\n")
        text = f"{self.new}{lost}" if self.is_statement else f"({self.new}{lost})"
        return source[: self.start] + text.encode() + source[self.stop :]


def mutants_of(group: str, file: str, source: bytes) -> list[Mutant]:
    """All of a file, each once."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = {}
    for owner, node, new in _visit(ast.parse(source), 0):
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[node.end_lineno - 1] + node.end_col_offset
        old = " ".join(source[start:stop].decode().split())
        mutant = Mutant(group, file, node.lineno, owner, start, stop, old, new, isinstance(node, ast.stmt))
        found[mutant.place] = mutant
    return list(found.values())


def _visit(node: ast.AST, owner: int) -> Iterator[tuple[int, ast.AST, str]]:
    """Line of the function around, the node to replace, and the text in its place."""
    if _is_left_out(node):
        return
    if isinstance(node, ast.Raise):  # whether it is raised is changed, not what it says
        yield owner, node, "pass"
        return
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        owner = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    for target, new in [*_of_values(node), *_of_flow(node)]:
        yield owner, target, new
    for name, value in ast.iter_fields(node):
        if name not in {"annotation", "returns", "decorator_list", "bases"}:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _visit(child, owner)


def _is_left_out(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.keyword(arg="samples" | "cost") | ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
        case ast.FunctionDef(name=name):
            return name.endswith("samples") or name in TEST_DATA
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name == "__all__" or name in TEST_DATA
    return False


def _of_values(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Other operators, comparisons and constants."""
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op):
            yield node, _with(node, op=SWAPPED[type(op)]())
        case ast.Compare(ops=operators):
            for i, operator in enumerate(operators):
                for other in COMPARED[type(operator)]:
                    yield node, _with(node, ops=[*operators[:i], other(), *operators[i + 1 :]])
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield node, f"({ast.unparse(operand)})"
        case ast.Constant(value=bool() | int() | float() | str() as value):
            yield node, _other(value)


def _other(value: bool | float | str) -> str:
    """Another constant of the same type, as text."""
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, int):
        return str(value + 1)
    if isinstance(value, float):
        return str(value * 2 if value else 1.0)
    return repr(value + "x")


def _of_flow(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Other ways through the code, and values that do not arrive."""
    match node:
        case ast.Return(value=ast.expr() as value) | ast.Lambda(body=value) if ast.unparse(value) != "None":
            yield value, "None"
        case ast.keyword(arg=str(), value=value) if not isinstance(value, (ast.Constant, ast.Lambda)):
            yield value, "None"
        case ast.Expr() | ast.AugAssign() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"
        case ast.Break():
            yield node, "continue"
        case ast.Continue():
            yield node, "break"
    conditions = [node.test] if isinstance(node, (ast.If, ast.While, ast.IfExp)) else getattr(node, "ifs", [])
    for condition in conditions:
        yield condition, f"(not ({ast.unparse(condition)}))"


def _with(node: ast.AST, **fields: object) -> str:
    """The text of a node in which these fields are others."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return f"({ast.unparse(other)})" if isinstance(node, ast.expr) else ast.unparse(other)
