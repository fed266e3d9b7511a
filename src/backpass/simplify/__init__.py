"""From a graph to a smaller one of the same meaning."""

from backpass.simplify.passes import PASSES, simplify

__all__ = ["PASSES", "simplify"]
