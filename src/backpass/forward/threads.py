"""The threads of NumPy's matrix products: one, while backpass calculates."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, NumPy multiplies matrices on one thread; what was set before is put back.

    Two reasons. The same bits: a library that splits a product over threads adds in another order on a machine with
    more cores. And speed: the products of a training step are small, and the library's threads, which spin while they
    wait, were measured to slow a step down several times as soon as another process wants the cores.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    import numpy as np
    from threadpoolctl import ThreadpoolController

    np.ones((2, 2)) @ np.ones((2, 2))  # the library must be loaded to be found
    return ThreadpoolController()
