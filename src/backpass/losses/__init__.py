"""Losses: how far the outputs of a network are from what is wanted, one number for each row and their weighted mean."""

from backpass.losses.catalogue import LOSSES, by_name, describe
from backpass.losses.classification import BinaryCrossEntropy, Brier, CrossEntropy, Hinge
from backpass.losses.heads import Head, Heads
from backpass.losses.loss import Loss
from backpass.losses.regression import Absolute, HalfSumOfSquares, Huber, Poisson, Quantile, Squared

__all__ = [
    "LOSSES",
    "Absolute",
    "BinaryCrossEntropy",
    "Brier",
    "CrossEntropy",
    "HalfSumOfSquares",
    "Head",
    "Heads",
    "Hinge",
    "Huber",
    "Loss",
    "Poisson",
    "Quantile",
    "Squared",
    "by_name",
    "describe",
]
