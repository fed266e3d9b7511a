"""Who takes part. Each module has `variants(work, X, y, options)`: for every way of using that library well, a function
that gets ready and returns a runner, which trains for a number of epochs. All may use two cores.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

Runner = Callable[[int], Any]
Variants = dict[str, Callable[[], Runner]]

OURS = "backpass"
_MODULES = {OURS: "ours", "torch": "with_torch", "jax": "with_jax", "sklearn": "with_sklearn"}
_PACKAGES = {
    OURS: ("backpass", "numpy"),
    "torch": ("torch",),
    "jax": ("jax", "jaxlib", "optax"),
    "sklearn": ("scikit-learn", "scipy"),
}
_NEEDED = {OURS: ("backpass",), "torch": ("torch",), "jax": ("jax", "optax"), "sklearn": ("sklearn",)}


def contender(name: str) -> Any:
    """The module of a contender."""
    return import_module(f"speed.contenders.{_MODULES[name]}")


def is_there(name: str) -> bool:
    """Whether all that it needs is installed. Nothing is imported."""
    return all(find_spec(package) is not None for package in _NEEDED[name])


def present(peers: tuple[str, ...]) -> list[str]:
    """Us, and those peers that are installed."""
    return [OURS, *filter(is_there, peers)]


def absent(peers: tuple[str, ...]) -> list[str]:
    """A sentence for each peer that is not installed."""
    return [f"{name} is not installed: not measured" for name in peers if not is_there(name)]


def versions() -> dict[str, str]:
    """Of every library that is there."""
    from importlib.metadata import version  # late: it weighs on whoever measures how quickly a process starts

    packages = [package for name, own in _PACKAGES.items() if is_there(name) for package in own]
    others = [name for name in ("llvmlite", "onnxruntime") if find_spec(name) is not None]
    return {package: version(package) for package in [*packages, *others]}
