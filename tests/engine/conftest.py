import warnings

import pytest
from hypothesis import settings

settings.register_profile("engine", deadline=None, max_examples=200, derandomize=True)
settings.load_profile("engine")


@pytest.fixture(scope="session")
def torch():
    """PyTorch, the peer. Its import may warn of what is not installed beside it, which is not our matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="PyTorch, with which the operations are compared, is not installed")
