"""Ten steps of random gradients in float64, here and in torch.optim."""

import warnings

import numpy as np
import pytest
from optimizer_helpers import eager_steps, gradients_like

from backpass import optimizers as o


@pytest.fixture(scope="module")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says when it is imported is not ours
        module = pytest.importorskip("torch", reason="PyTorch, the peer of this comparison, is not installed")
    before = module.get_default_dtype()
    module.set_default_dtype(module.float64)  # NAdam keeps its product of momenta in the default type
    yield module
    module.set_default_dtype(before)


PAIRS = {
    "sgd": (o.SGD(0.05), "SGD", {"lr": 0.05}),
    "momentum": (o.Momentum(0.05, momentum=0.8), "SGD", {"lr": 0.05, "momentum": 0.8}),
    "nesterov": (o.Nesterov(0.05, momentum=0.8), "SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
    "weight decay": (
        o.Chain(o.WeightDecay(0.1), o.Momentum(0.05)),
        "SGD",
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1},
    ),
    "adagrad": (o.Adagrad(), "Adagrad", {}),
    "rmsprop": (o.RMSprop(), "RMSprop", {}),
    "rmsprop with a large epsilon": (
        o.RMSprop(0.1, decay=0.9, epsilon=0.1),
        "RMSprop",
        {"lr": 0.1, "alpha": 0.9, "eps": 0.1},
    ),
    "adam": (o.Adam(), "Adam", {}),
    "adam with a large epsilon": (
        o.Adam(0.1, beta1=0.7, beta2=0.9, epsilon=0.1),
        "Adam",
        {"lr": 0.1, "betas": (0.7, 0.9), "eps": 0.1},
    ),
    "adam without memory": (o.Adam(0.1, beta1=0.0, beta2=0.0), "Adam", {"lr": 0.1, "betas": (0.0, 0.0)}),
    "adam with L2": (o.Chain(o.WeightDecay(0.1), o.Adam()), "Adam", {"weight_decay": 0.1}),
    "adamw": (o.AdamW(), "AdamW", {}),
    "adamw with a strong decay": (o.AdamW(0.1, weight_decay=0.5), "AdamW", {"lr": 0.1, "weight_decay": 0.5}),
    "nadam": (o.NAdam(), "NAdam", {}),
    "nadam with a large epsilon": (
        o.NAdam(0.1, beta1=0.7, beta2=0.9, epsilon=0.1, momentum_decay=0.05),
        "NAdam",
        {"lr": 0.1, "betas": (0.7, 0.9), "eps": 0.1, "momentum_decay": 0.05},
    ),
    "radam": (o.RAdam(), "RAdam", {}),
    "radam with a large epsilon": (
        o.RAdam(0.1, beta2=0.9, epsilon=0.1),
        "RAdam",
        {"lr": 0.1, "betas": (0.9, 0.9), "eps": 0.1},
    ),
    "rprop": (o.Rprop(), "Rprop", {}),
    "rprop within narrow bounds": (
        o.Rprop(0.01, smallest=0.008, largest=0.012),
        "Rprop",
        {"lr": 0.01, "step_sizes": (0.008, 0.012)},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_ten_steps_are_those_of_pytorch(name, torch):
    rule, peer, options = PAIRS[name]
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    gradients = gradients_like(rng, start, 10)
    theirs = [torch.tensor(p, requires_grad=True) for p in start]
    optimizer = getattr(torch.optim, peer)(theirs, **options)
    for ours, gradient in zip(eager_steps(rule, start, gradients), gradients, strict=True):
        for p, g in zip(theirs, gradient, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
        for mine, p in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, p.detach().numpy(), rtol=1e-9, atol=1e-9)


SCHEDULES = {
    "step": (o.Step(0.1, every=3, factor=0.5), "StepLR", {"step_size": 3, "gamma": 0.5}),
    "exponential": (o.Exponential(0.1, factor=0.9, steps=1), "ExponentialLR", {"gamma": 0.9}),
    "cosine": (o.Cosine(0.1, steps=20, final_fraction=0.1), "CosineAnnealingLR", {"T_max": 20, "eta_min": 0.01}),
    "one cycle": (o.OneCycle(0.1, steps=21), "OneCycleLR", {"max_lr": 0.1, "total_steps": 21, "cycle_momentum": False}),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_pytorch(name, torch):
    schedule, peer, options = SCHEDULES[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = getattr(torch.optim.lr_scheduler, peer)(optimizer, **options)
    for step in range(20):
        assert float(schedule(step)) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_reduce_on_plateau_falls_in_the_same_epochs_as_pytorchs(torch):
    rng = np.random.default_rng(1)
    losses = 1 / (1 + np.arange(40)) ** 0.2 + rng.normal(size=40) * 0.05
    schedule = o.ReduceOnPlateau(0.1, factor=0.5, patience=2, threshold=0.01, minimum=1e-3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, threshold=0.01, min_lr=1e-3)
    state = schedule.init()
    for loss in losses:
        state = schedule.observe(state, float(loss))
        theirs.step(float(loss))
        assert float(schedule(0, state)) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_clipping_by_the_global_norm_is_pytorchs_to_a_millionth(torch):
    rng = np.random.default_rng(2)
    gradients = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    theirs = [torch.zeros(g.shape, requires_grad=True) for g in gradients]
    for p, g in zip(theirs, gradients, strict=True):
        p.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    clipped, _ = o.ClipByGlobalNorm(1.0).update(gradients, {}, gradients, 0)
    for mine, p in zip(clipped, theirs, strict=True):
        np.testing.assert_allclose(mine, p.grad.numpy(), rtol=1e-6)
