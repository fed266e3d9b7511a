import gc
import os

import pytest

LONG = ("tests/project/", "tests/recipes/", "tests/cli/")
"""Where tests of seconds are: they come first, so that none begins when all others have ended."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish():
    """Thousands of tests are no garbage: no collection looks at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Compiled programs are kept in a folder of this session alone: no test reads or writes the user's."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    before = os.environ.get("BACKPASS_CACHE")
    os.environ["BACKPASS_CACHE"] = str(shared / "compiled")
    yield
    if before is None:
        del os.environ["BACKPASS_CACHE"]
    else:
        os.environ["BACKPASS_CACHE"] = before
