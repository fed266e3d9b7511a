"""How parameters move: update rules as pure (init, update) pairs, schedules of the learning rate, chains and groups.

Everything is written in `backpass.ops`, so that one graph holds a whole training step.
"""

from backpass.optimizers.accumulated import Accumulated
from backpass.optimizers.adam import Adam, AdamW, NAdam, RAdam
from backpass.optimizers.adaptive import Adagrad, RMSprop
from backpass.optimizers.averaged import Averaged
from backpass.optimizers.catalogue import RULES, SCHEDULES
from backpass.optimizers.chain import Chain
from backpass.optimizers.gradient_descent import SGD, Momentum, Nesterov
from backpass.optimizers.groups import Groups
from backpass.optimizers.optimizer import Optimizer, Rule, State
from backpass.optimizers.plateau import ReduceOnPlateau
from backpass.optimizers.schedule import Schedule
from backpass.optimizers.schedules import Constant, Cosine, Exponential, OneCycle, Step, WarmUp
from backpass.optimizers.signs import Lion, Rprop
from backpass.optimizers.slowed import Slowed
from backpass.optimizers.transformations import ClipByGlobalNorm, ClipByValue, Transformation, WeightDecay

__all__ = [
    "RULES",
    "SCHEDULES",
    "SGD",
    "Accumulated",
    "Adagrad",
    "Adam",
    "AdamW",
    "Averaged",
    "Chain",
    "ClipByGlobalNorm",
    "ClipByValue",
    "Constant",
    "Cosine",
    "Exponential",
    "Groups",
    "Lion",
    "Momentum",
    "NAdam",
    "Nesterov",
    "OneCycle",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "ReduceOnPlateau",
    "Rprop",
    "Rule",
    "Schedule",
    "Slowed",
    "State",
    "Step",
    "Transformation",
    "WarmUp",
    "WeightDecay",
]
