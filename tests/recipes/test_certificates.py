"""The gradient certificate on all that the package trains by itself: the recipes of tables, and the demos."""

from pathlib import Path

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn
from backpass.data import read_table
from backpass.ops import Key
from backpass.recipes import demo_xor, plan, textbook
from backpass.recipes.certificate import certify

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "data"
SHARED = ROOT.parent / "shared" / "data"
ROWS = 600  # enough of each table for its columns to be understood

SHIPPED = {
    "iris": ("iris.csv", "species", {}),
    "penguins": ("penguins.csv", "species", {}),
    "abalone": ("abalone.csv", "Rings", {}),
    "wine as a number": ("winequality-red.csv", "quality", {}),
    "wine as classes": ("winequality-red.csv", "quality", {"task": "classification"}),
    "several numbers": ("abalone.csv", ("Rings", "Height"), {}),
    "embeddings": ("penguins.csv", "body_mass_g", {"columns": {"bill_length_mm": "category"}}),
    "smooth, without dropout": ("iris.csv", "species", {"recipe": {"epochs": 2, "activation": "gelu", "dropout": 0.0}}),
    "linear": ("iris.csv", "species", {"recipe": {"epochs": 2, "hidden": ()}}),
}
BESIDE = {
    "titanic": ("titanic.csv", "survived", {"exclude": ["alive"]}),
    "letters": ("letter_recognition.csv", "lettr", {}),
    "houses": ("california_housing.csv", "median_house_value", {}),
    "bicycles": ("bike_sharing_hour.csv", "cnt", {}),
    "white wine": ("winequality-white.csv", "quality", {}),
}


def certified(path, target, **options):
    """The certificate of what the default recipe makes of the first rows of a table in a few epochs."""
    options.setdefault("recipe", {"epochs": 2})
    table = read_table(path)
    table = table.take(np.arange(min(ROWS, table.rows)))
    return certify(plan(table, target, **options).fit().model, table, rows=24)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_for_the_tables_that_ship_has_right_gradients(name):
    """Back-propagation agrees with central differences in every layer, and not for want of directions."""
    file, target, options = SHIPPED[name]
    certificate = certified(EXAMPLES / file, target, **options)
    assert certificate.ok, certificate
    assert all(layer.directions > 0 for layer in certificate.layers)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder shared/data is not beside the repository")
@pytest.mark.parametrize("name", BESIDE)
def test_recipes_for_larger_tables_have_right_gradients(name):
    """The same on slices of tables that do not ship."""
    file, target, options = BESIDE[name]
    certificate = certified(SHARED / file, target, **options)
    assert certificate.ok, certificate


def test_the_textbook_program_has_right_gradients():
    """`backpass demo iris`: its error of ten flowers, at the weights that it starts from."""
    flowers = textbook.iris()
    rows = slice(45, 55)
    report = bp.check_gradients(
        lambda p: textbook.error(p, flowers.measures[rows], flowers.desired[rows]), textbook.first_parameters(0)
    )
    assert report, f"\n{report}"


@pytest.mark.parametrize("hidden", [False, True])
def test_the_networks_for_exclusive_or_have_right_gradients(hidden):
    """`backpass demo xor`: with and without its hidden layer."""
    first = {"hidden": nn.Dense(demo_xor.HIDDEN), "tanh": nn.Tanh()} if hidden else {}
    network = nn.Sequential(**first, output=nn.Dense(1))
    loss, start = losses.BinaryCrossEntropy(), network.init((2,), Key.of(0))
    start = {layer: {name: np.float64(value) for name, value in parts.items()} for layer, parts in start.items()}
    report = bp.check_gradients(lambda p: loss(network(p, demo_xor.INPUTS), demo_xor.WANTED), start)
    assert report, f"\n{report}"
