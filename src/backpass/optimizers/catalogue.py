"""The optimizers and schedules by name, for those who choose them by text."""

from collections.abc import Mapping

from backpass.optimizers.adam import Adam, AdamW, NAdam, RAdam
from backpass.optimizers.adaptive import Adagrad, RMSprop
from backpass.optimizers.gradient_descent import SGD, Momentum, Nesterov
from backpass.optimizers.optimizer import Optimizer
from backpass.optimizers.plateau import ReduceOnPlateau
from backpass.optimizers.schedule import Schedule
from backpass.optimizers.schedules import Constant, Cosine, Exponential, OneCycle, Step, WarmUp
from backpass.optimizers.signs import Lion, Rprop

RULES: Mapping[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": NAdam,
    "radam": RAdam,
    "rprop": Rprop,
    "lion": Lion,
}

SCHEDULES: Mapping[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "warmup": WarmUp,
    "onecycle": OneCycle,
    "plateau": ReduceOnPlateau,
}
