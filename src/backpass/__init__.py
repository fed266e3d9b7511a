"""backpass: back-propagation as real software.

A table in, a trained network out, the same bits at every run, and every number of it open to see.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backpass import losses, nn, ops, optimizers, training
    from backpass.backward import check_gradients, grad, value_and_grad
    from backpass.data import Table, read_table
    from backpass.doctor import diagnose
    from backpass.errors import BackpassError
    from backpass.forward import Program, evaluate, trace
    from backpass.model import Model, load
    from backpass.recipes.again import open_run
    from backpass.recipes.main_job import train
    from backpass.training import Trainer

__version__ = "0.1.0"

# Where each public name lives. Each is imported when it is first used, so that `import backpass` costs nothing.
_HOMES = {
    "BackpassError": "backpass.errors",
    "Model": "backpass.model",
    "Program": "backpass.forward",
    "Table": "backpass.data",
    "Trainer": "backpass.training",
    "check_gradients": "backpass.backward",
    "diagnose": "backpass.doctor",
    "evaluate": "backpass.forward",
    "grad": "backpass.backward",
    "load": "backpass.model",
    "open_run": "backpass.recipes.again",
    "read_table": "backpass.data",
    "trace": "backpass.forward",
    "train": "backpass.recipes",
    "value_and_grad": "backpass.backward",
}
_ROOMS = ("losses", "nn", "ops", "optimizers", "training")

__all__ = [
    "BackpassError",
    "Model",
    "Program",
    "Table",
    "Trainer",
    "__version__",
    "check_gradients",
    "diagnose",
    "evaluate",
    "grad",
    "load",
    "losses",
    "nn",
    "open_run",
    "ops",
    "optimizers",
    "read_table",
    "trace",
    "train",
    "training",
    "value_and_grad",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"backpass.{name}")
    raise AttributeError(f"module 'backpass' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
