import warnings

import pytest


@pytest.fixture(scope="session")
def torch():
    """PyTorch, the peer. Its import may warn of what is not installed beside it, which is not our matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="PyTorch, with which training is compared, is not installed")
