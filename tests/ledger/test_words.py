"""How the ledger of a table calls what is not in the table as it is."""

import numpy as np
import pytest

from backpass.data import read_table
from backpass.recipes.main_job import plan
from backpass.recipes.words import words_of


@pytest.mark.parametrize(("kind", "least"), [("number", -20), ("count", 0), ("positive", 1)])
def test_the_scaling_of_a_target_is_a_formula_of_its_column(kind, least, tmp_path):
    """With the number of the table put in it gives what is desired of the network."""
    amounts = np.random.default_rng(0).integers(least, 40, 60)
    lines = [f"{k / 7},{amount}" for k, amount in enumerate(amounts)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *lines]))
    prepared = plan(read_table(tmp_path / "t.csv"), "y", target_kind=kind, effort="fast").prepared
    words = words_of(prepared)
    for place in range(3):
        put = words.scalings["y"].replace("y", words.raw(place)["y"])
        desired = prepared.train.targets[place].item()
        assert eval(put, {"log": np.log}) == pytest.approx(desired, rel=1e-3)  # noqa: S307 - a formula of ours
