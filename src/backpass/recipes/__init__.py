"""What a table gets by default, and the main job from beginning to end."""

from backpass.recipes.defaults import Recipe, recipe
from backpass.recipes.main_job import Outcome, Plan, plan, train

__all__ = ["Outcome", "Plan", "Recipe", "plan", "recipe", "train"]
