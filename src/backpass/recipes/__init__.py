"""What a table gets by default, and the main job from beginning to end."""

from backpass.recipes.defaults import Recipe, recipe
from backpass.recipes.main_job import Outcome, Plan, plan, train
from backpass.recipes.run import NotSavedError

__all__ = ["NotSavedError", "Outcome", "Plan", "Recipe", "plan", "recipe", "train"]
