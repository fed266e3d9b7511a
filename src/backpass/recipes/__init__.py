"""What a table gets by default, and the main job from beginning to end.

Its names are imported when they are first used: whoever takes a small thing from here need not wait for the main job.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backpass.recipes.defaults import Recipe, recipe
    from backpass.recipes.main_job import Outcome, Plan, plan, train

_HOMES = {
    "Outcome": "main_job",
    "Plan": "main_job",
    "Recipe": "defaults",
    "plan": "main_job",
    "recipe": "defaults",
    "train": "main_job",
}

__all__ = ["Outcome", "Plan", "Recipe", "plan", "recipe", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"backpass.recipes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'backpass.recipes' has no attribute {name!r}")
