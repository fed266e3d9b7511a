"""What SECURITY.md promises of the code as a whole."""

import ast
import re
import socket
from pathlib import Path

import pytest

import backpass as bp
from backpass.errors import BackpassError

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "backpass").rglob("*.py"))
# Modules that execute what they read, or reach beyond this machine.
FORBIDDEN = {
    *("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "runpy", "code", "yaml", "xml", "tarfile"),
    *("ssl", "http", "urllib", "ftplib", "smtplib", "requests", "httpx", "webbrowser"),
}
# Modules that serve a page to this machine: they open a door and may show it to a browser, and connect to nobody.
SERVING = {"live/door.py", "live/server.py"}
DOOR = {"socket", "bind", "listen", "close", "getsockname", "setsockopt", "getaddrinfo", "create_server"}
EXECUTING = {"eval", "exec", "compile", "__import__"}
# Imports by name, each of a name that stands in the code.
IMPORTING = {"__init__.py", "lazy.py"}


def modules(tree):
    """Every module that a file imports, by the first part of its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def calls(tree):
    """The names of all functions that are called, with what they are of, and all keywords that are set to True."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
            yield from (k.arg for k in node.keywords if isinstance(k.value, ast.Constant) and k.value.value is True)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_executes_what_it_reads_or_reaches_beyond_this_machine(path):
    """Neither pickle and its like, nor eval, nor a shell, nor a connection."""
    tree = ast.parse(path.read_text())
    called = set(calls(tree))
    serves = path.relative_to(ROOT / "src" / "backpass").as_posix() in SERVING
    assert not (FORBIDDEN - ({"webbrowser"} if serves else set())) & set(modules(tree))
    assert not (EXECUTING | {"shell", "allow_pickle", "os.system", "os.popen"}) & called
    assert set(re.findall(r"\bsocket\.(\w+)", " ".join(called))) <= {"gethostname"} | (DOOR if serves else set())
    assert path.name in IMPORTING or not any(name.endswith("import_module") for name in called)


@pytest.mark.parametrize("place", ["http://localhost:1/t.csv", "https://localhost/t.parquet", "s3://bucket/t.csv"])
def test_an_address_is_no_place_of_a_table_or_model(place, monkeypatch):
    """It is looked for on this machine, and not found; no connection is tried."""
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a connection was opened"))
    for opened in (bp.read_table, bp.load):
        with pytest.raises(BackpassError, match="no such file"):
            opened(place)


def test_every_test_that_the_page_points_at_is_there():
    """SECURITY.md names files of tests; none has gone."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "SECURITY.md").read_text()))
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).is_file()]
