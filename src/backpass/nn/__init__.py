"""Layers: frozen descriptions of what a network does. Their parameters live outside them."""

from backpass.nn.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from backpass.nn.catalogue import ACTIVATIONS, build, describe
from backpass.nn.containers import Concatenate, Container, Residual, Sequential
from backpass.nn.dense import Dense
from backpass.nn.dropout import Dropout
from backpass.nn.embedding import Embedding, OneHot
from backpass.nn.ensemble import Blend, CrossFitted, Ensemble
from backpass.nn.function import Function
from backpass.nn.initializers import Constant, Glorot, He, Initializer, LeCun, Normal, Orthogonal, Uniform
from backpass.nn.layer import Layer, count, specs
from backpass.nn.periodic import Periodic
from backpass.nn.pieces import Pieces
from backpass.nn.shaping import Flatten, Identity, Input
from backpass.nn.summary import summary

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "Blend",
    "Concatenate",
    "Constant",
    "Container",
    "CrossFitted",
    "Dense",
    "Dropout",
    "Embedding",
    "Ensemble",
    "Flatten",
    "Function",
    "Glorot",
    "He",
    "Identity",
    "Initializer",
    "Input",
    "Layer",
    "LeCun",
    "LeakyReLU",
    "Mish",
    "Normal",
    "OneHot",
    "Orthogonal",
    "Periodic",
    "Pieces",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Uniform",
    "build",
    "count",
    "describe",
    "specs",
    "summary",
]
