import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Compiled programs are kept in a folder of this session alone: no test reads or writes the user's."""
    before = os.environ.get("BACKPASS_CACHE")
    os.environ["BACKPASS_CACHE"] = str(tmp_path_factory.mktemp("compiled"))
    yield
    if before is None:
        del os.environ["BACKPASS_CACHE"]
    else:
        os.environ["BACKPASS_CACHE"] = before
