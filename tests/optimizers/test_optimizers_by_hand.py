"""Steps of each rule, worked by hand from the published formula, with the numbers written out."""

import numpy as np
import pytest
from optimizer_helpers import eager_steps

from backpass.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Momentum,
    NAdam,
    Nesterov,
    RAdam,
    RMSprop,
    Rprop,
)


def visited(optimizer, start, gradients):
    return [float(p) for p in eager_steps(optimizer, np.array(start), [np.array(g) for g in gradients])]


def test_sgd_moves_by_the_learning_rate_times_the_gradient():
    # 1 - 0.1*2 = 0.8;  0.8 - 0.1*(-1) = 0.9
    assert visited(SGD(0.1), 1.0, [2.0, -1.0]) == pytest.approx([0.8, 0.9], rel=1e-12)


def test_momentum_adds_a_share_of_the_velocity():
    # v: 2;  0.9*2 - 1 = 0.8;  0.9*0.8 + 1 = 1.72.   p: 1 - 0.2 = 0.8;  0.8 - 0.08 = 0.72;  0.72 - 0.172 = 0.548
    assert visited(Momentum(0.1, momentum=0.9), 1.0, [2.0, -1.0, 1.0]) == pytest.approx([0.8, 0.72, 0.548], rel=1e-12)


def test_nesterov_looks_one_step_of_velocity_ahead():
    # v: 2;  0.8.   g + 0.9 v: 2 + 1.8 = 3.8;  -1 + 0.72 = -0.28.   p: 1 - 0.38 = 0.62;  0.62 + 0.028 = 0.648
    assert visited(Nesterov(0.1, momentum=0.9), 1.0, [2.0, -1.0]) == pytest.approx([0.62, 0.648], rel=1e-12)


def test_adagrad_divides_by_the_root_of_the_sum_of_squares():
    # s: 9;  9 + 16 = 25.   p: 1 - 0.1*3/3 = 0.9;  0.9 - 0.1*4/5 = 0.82
    assert visited(Adagrad(0.1, epsilon=0.0), 1.0, [3.0, 4.0]) == pytest.approx([0.9, 0.82], rel=1e-12)


def test_adagrad_adds_epsilon_to_the_root():
    # 1 - 0.1 * 3 / (3 + 1) = 0.925
    assert visited(Adagrad(0.1, epsilon=1.0), 1.0, [3.0]) == pytest.approx([0.925], rel=1e-12)


def test_rmsprop_divides_by_the_root_of_the_decaying_mean_of_squares():
    # decay 0.75: v = 0.25*16 = 4;  0.75*4 + 0.25*4 = 4.   p: 1 - 0.1*4/(2 + 0.5) = 0.84;  0.84 - 0.1*2/2.5 = 0.76
    rule = RMSprop(0.1, decay=0.75, epsilon=0.5)
    assert visited(rule, 1.0, [4.0, 2.0]) == pytest.approx([0.84, 0.76], rel=1e-12)


def test_adam_divides_the_corrected_mean_by_the_root_of_the_corrected_mean_of_squares():
    # beta1 = beta2 = 0.5, epsilon = 1.
    # t=1: m = 1, m/0.5 = 2;      v = 2, v/0.5 = 4;     p = 1 - 0.3*2/(2 + 1) = 0.8
    # t=2: m = 0.5 + 2 = 2.5, m/0.75 = 10/3;  v = 1 + 8 = 9, v/0.75 = 12;  p = 0.8 - 0.3*(10/3)/(sqrt(12) + 1)
    rule = Adam(0.3, beta1=0.5, beta2=0.5, epsilon=1.0)
    second = 0.8 - 1.0 / (3.4641016151377544 + 1.0)
    assert visited(rule, 1.0, [2.0, 4.0]) == pytest.approx([0.8, second], rel=1e-12)
    assert second == pytest.approx(0.575990763, abs=1e-9)


def test_adams_first_step_is_the_learning_rate_whatever_the_size_of_the_gradient():
    for gradient in (1e-3, 1.0, 1e6):
        assert visited(Adam(0.01, epsilon=0.0), 1.0, [gradient]) == pytest.approx([0.99], rel=1e-12)


def test_adamw_shrinks_the_parameter_by_rate_times_decay_before_the_step_of_adam():
    # 2 * (1 - 0.3*0.1) = 1.94;  the step of Adam above is 0.2:  1.94 - 0.2 = 1.74
    rule = AdamW(0.3, beta1=0.5, beta2=0.5, epsilon=1.0, weight_decay=0.1)
    assert visited(rule, 2.0, [2.0]) == pytest.approx([1.74], rel=1e-12)


def test_nadam_blends_the_next_momentum_with_the_gradient():
    # momentum_decay = 0: mu = 0.8*(1 - 0.5) = 0.4 at every step;  P1 = 0.4, P2 = 0.16, P3 = 0.064
    # t=1: m = 0.2*2 = 0.4;  v/c2 = 4;  (0.4*0.4/0.84 + 0.6*2/0.6)/(2 + 1) = (0.1904761905 + 2)/3 = 0.7301587302
    # t=2: m = 0.32 - 0.2*2 = -0.08;  v/c2 = 4;  (-0.032/0.936 - 0.6*2/0.84)/3 = (-0.0341880342 - 1.4285714286)/3
    rule = NAdam(0.1, beta1=0.8, beta2=0.5, epsilon=1.0, momentum_decay=0.0)
    found = visited(rule, 1.0, [2.0, -2.0])
    assert found == pytest.approx([1 - 0.07301587302, 1 - 0.07301587302 + 0.04875864876], abs=1e-10)


def test_radam_is_plain_momentum_until_the_sixth_step_and_rectified_from_then_on():
    # beta1 = 0: m/c1 = g.  Constant gradient 2, learning rate 0.1: five steps of 0.2.
    # t=6, beta2 = 0.999: rho_inf = 1999;  beta2^6 = 0.994014980014994;  c2 = 0.005985019985006
    #   rho = 1999 - 12*0.994014980014994/0.005985019985006 = 5.994165
    #   r^2 = (1.994165*3.994165*1999)/(1995*1997*5.994165) = 0.000666736;  step = 0.1*sqrt(r^2)*2/2
    found = visited(RAdam(0.1, beta1=0.0, epsilon=0.0), 1.0, [2.0] * 6)
    assert found[:5] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0], abs=1e-12)
    assert found[5] == pytest.approx(-0.1 * np.sqrt(0.000666736), rel=1e-5)


def test_radam_with_a_short_memory_is_plain_momentum_for_ever():
    # rho_inf = 2/0.5 - 1 = 3: never above 5
    assert visited(RAdam(0.1, beta1=0.0, beta2=0.5), 1.0, [2.0] * 3) == pytest.approx([0.8, 0.6, 0.4], rel=1e-12)


def test_rprop_grows_shrinks_and_waits_by_the_sign_of_the_gradient_alone():
    # size: 0.1;  same sign: 0.12;  turned: 0.06 and no move;  after a turn: 0.06;  same sign: 0.072
    # p: 1 - 0.1 = 0.9;  0.9 - 0.12 = 0.78;  0.78;  0.78 + 0.06 = 0.84;  0.84 + 0.072 = 0.912
    found = visited(Rprop(0.1), 1.0, [5.0, 0.01, -3.0, -3.0, -1e-30])
    assert found == pytest.approx([0.9, 0.78, 0.78, 0.84, 0.912], rel=1e-12)


def test_rprop_keeps_its_step_sizes_between_smallest_and_largest():
    # size: 0.1 -> 0.11 (0.12 held);  turned: 0.06 (0.055 held)
    found = visited(Rprop(0.1, smallest=0.06, largest=0.11), 1.0, [1.0, 1.0, -1.0, -1.0])
    assert found == pytest.approx([0.9, 0.79, 0.79, 0.85], rel=1e-12)


def test_lion_moves_by_the_sign_of_the_blend_and_then_updates_its_momentum():
    # beta1 0.5, beta2 0.75.  t=1: blend 0.5*4 = 2 -> +;  m = 0.25*4 = 1
    # t=2: g = -0.5: blend 0.5 - 0.25 = 0.25 -> +;  m = 0.75 - 0.125 = 0.625.  t=3: g = -1: 0.3125 - 0.5 < 0 -> -
    found = visited(Lion(0.1, beta1=0.5, beta2=0.75), 1.0, [4.0, -0.5, -1.0])
    assert found == pytest.approx([0.9, 0.8, 0.9], rel=1e-12)


def test_lion_decays_the_weights_apart_from_the_sign():
    # 2 - 0.1*(1 + 0.5*2) = 1.8
    assert visited(Lion(0.1, weight_decay=0.5), 2.0, [4.0]) == pytest.approx([1.8], rel=1e-12)
