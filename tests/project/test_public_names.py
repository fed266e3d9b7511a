"""What is public is said in `__all__`, is there, and is all that a package imports for its users."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import backpass

SOURCE = Path(backpass.__file__).parent
PACKAGES = sorted(".".join(path.parent.relative_to(SOURCE.parent).parts) for path in SOURCE.rglob("__init__.py"))


def in_order(name):
    """Constants, then classes, then functions and modules, each by the alphabet: the order that ruff keeps."""
    constant = name.isupper() and len(name) > 1
    return 0 if constant else 1 if name[0].isupper() else 2, name


def imported_names(package):
    """The public names that a package's own `__init__.py` imports from other rooms at run time."""
    path = SOURCE.parent / Path(*package.split(".")) / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("backpass")
        for alias in node.names
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_is_public(package):
    """`__all__` is sorted, names nothing twice and nothing that is not there, and holds all that is imported."""
    module = importlib.import_module(package)
    names = list(getattr(module, "__all__", []))
    assert names == sorted(set(names), key=in_order)
    assert [name for name in names if not hasattr(module, name)] == []
    if package != "backpass":
        assert imported_names(package) - set(names) == set()


def test_the_names_at_the_top():
    """The public face of backpass: a name more or less is a decision, taken here too."""
    assert set(backpass.__all__) == {
        *("__version__", "BackpassError", "Model", "Program", "Table", "Trainer"),
        *("check_gradients", "diagnose", "evaluate", "grad", "load", "read_table", "trace", "train", "value_and_grad"),
        *("losses", "nn", "open_run", "ops", "optimizers", "training"),
    }
    assert dir(backpass) == sorted(backpass.__all__)


def test_every_operation_is_told():
    """The table of operations in docs/python.md has each of them once, and no name that there is not."""
    document = (SOURCE.parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
    section = document.partition("\n## Operations\n")[2].partition("\n## ")[0]
    lines = [line.split("|")[2] for line in section.splitlines() if line.startswith("| ")][2:]
    assert sorted(re.findall(r"`(\w+)`", " ".join(lines))) == sorted(backpass.ops.__all__)


def test_a_name_that_is_not_there():
    """An unknown name is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="has no attribute 'fit'"):
        backpass.fit  # noqa: B018


def test_every_error_is_a_backpass_error():
    """Each class of errors.py can be caught by the root, and stands in the tree drawn at the top of the file."""
    errors = importlib.import_module("backpass.errors")
    classes = [each for each in vars(errors).values() if isinstance(each, type) and each.__module__ == errors.__name__]
    assert len(classes) > 5
    assert all(issubclass(each, backpass.BackpassError) for each in classes)
    assert all(each.__name__ in errors.__doc__ for each in classes)
