"""Back-propagation as in the textbook, every number written out.

A network of two inputs, two hidden sigmoid nodes and one sigmoid output, with the squared error E = (o - t)^2 / 2:

    x = (0.5, -1)      t = 1
    hidden 1: weights (0.4, 0.1), bias 0.2      hidden 2: weights (-0.6, 0.3), bias -0.1
    output: weights (0.7, -0.5), bias 0.3

Forward.   z1 = 0.2 - 0.1 + 0.2 = 0.3           h1 = 1 / (1 + e^-0.3)  = 0.574442516811659
           z2 = -0.3 - 0.3 - 0.1 = -0.7         h2 = 1 / (1 + e^0.7)   = 0.331812227831834
           zo = 0.7 h1 - 0.5 h2 + 0.3           zo = 0.402109761768161 - 0.165906113915917 + 0.3 = 0.536203647852244
           o  = 1 / (1 + e^-zo)                 o  = 0.630928848388160
Error.     E = (o - 1)^2 / 2                    E  = 0.068106757476045

Backward.  do  = o - t                          = -0.369071151611840
           dzo = do * o (1 - o)                 = -0.369071151611840 * 0.232857636659750 = -0.085941036123626
           dh1 = 0.7 dzo = -0.060158725286538   dh2 = -0.5 dzo = 0.042970518061813
           dz1 = dh1 * h1 (1 - h1)              = -0.060158725286538 * 0.244458311690746 = -0.014706300417014
           dz2 = dh2 * h2 (1 - h2)              = 0.042970518061813 * 0.221712873293109  = 0.009527117026378
Weights.   each derivative is the error of the node it leads to, times the value it comes from.
"""

import numpy as np
import pytest

import backpass as bp
from backpass import ops
from backpass.backward import backward
from backpass.forward import Program, trace

X = np.array([0.5, -1.0])
PARAMETERS = {
    "hidden": {"weight": np.array([[0.4, -0.6], [0.1, 0.3]]), "bias": np.array([0.2, -0.1])},
    "output": {"weight": np.array([[0.7], [-0.5]]), "bias": np.array([0.3])},
}
VALUES = {
    "z": [0.3, -0.7],
    "h": [0.574442516811659, 0.331812227831834],
    "zo": [0.536203647852244],
    "o": [0.630928848388160],
    "E": 0.068106757476045,
}
ERRORS = {
    "o": [-0.369071151611840],
    "zo": [-0.085941036123626],
    "h": [-0.060158725286538, 0.042970518061813],
    "z": [-0.014706300417014, 0.009527117026378],
}
DERIVATIVES = {
    ("hidden", "weight"): [[-0.007353150208507, 0.004763558513189], [0.014706300417014, -0.009527117026378]],
    ("hidden", "bias"): [-0.014706300417014, 0.009527117026378],
    ("output", "weight"): [[-0.049368185088257], [-0.028516286658356]],
    ("output", "bias"): [-0.085941036123626],
}


def steps(parameters):
    """Every node of the network by its name."""
    z = ops.matmul(X, parameters["hidden"]["weight"]) + parameters["hidden"]["bias"]
    h = ops.sigmoid(z)
    zo = ops.matmul(h, parameters["output"]["weight"]) + parameters["output"]["bias"]
    o = ops.sigmoid(zo)
    return {"z": z, "h": h, "zo": zo, "o": o, "E": ops.sum((o - 1.0) ** 2) / 2}


@pytest.fixture(scope="module")
def traced():
    return trace(steps, PARAMETERS)


@pytest.mark.parametrize("name", VALUES)
def test_values(traced, name):
    """The forward pass gives every node the value worked out by hand."""
    np.testing.assert_allclose(bp.evaluate(traced, PARAMETERS)[name], VALUES[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ERRORS)
def test_errors(traced, name):
    """The backward pass gives every node the error worked out by hand."""
    (error,) = backward(traced.result["E"], [traced.result[name]])
    graph = type(traced.graph)(traced.graph.inputs, (error,))
    weights = [PARAMETERS[layer][part] for layer in PARAMETERS for part in PARAMETERS[layer]]
    np.testing.assert_allclose(Program(graph)(*weights)[0], ERRORS[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize(("layer", "part"), DERIVATIVES)
def test_weight_derivatives(layer, part):
    """Every weight and bias has the derivative worked out by hand."""
    value, gradient = bp.value_and_grad(lambda p: steps(p)["E"])(PARAMETERS)
    assert value == pytest.approx(VALUES["E"], abs=1e-14)
    np.testing.assert_allclose(gradient[layer][part], DERIVATIVES[layer, part], rtol=0, atol=1e-14)
