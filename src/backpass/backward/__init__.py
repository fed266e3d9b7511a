"""The backward pass: from the output's error to the error at every node, as a graph; and its proof by differences."""

from backpass.backward.check import GradientReport, check_gradients
from backpass.backward.gradient import grad, value_and_grad
from backpass.backward.reverse import backward

__all__ = ["GradientReport", "backward", "check_gradients", "grad", "value_and_grad"]
