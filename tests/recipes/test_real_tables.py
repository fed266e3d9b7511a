"""Whole trainings of real tables."""

from pathlib import Path

import pytest

from backpass.recipes import plan

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
TABLES = {
    "adult": ("adult_train.csv.gz", "income", "adult_test.csv.gz", {"accuracy": 0.85, "auc": 0.905}),
    "california housing": ("california_housing.csv", "median_house_value", None, {"r2": 0.78}),
    "letter recognition": ("letter_recognition.csv", "lettr", None, {"accuracy": 0.95}),
    "penguins": ("penguins.csv", "species", None, {"accuracy": 0.97}),
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder shared/data is not beside the repository")
@pytest.mark.parametrize("name", TABLES)
def test_one_network_is_good_and_better_than_saying_the_same_for_every_row(name):
    """What several come to is the benchmark's to say; here it would take minutes."""
    file, target, test_file, wanted = TABLES[name]
    test_table = None if test_file is None else SHARED / test_file
    outcome = plan(SHARED / file, target, test_table=test_table, effort="fast").fit()
    for metric, least in wanted.items():
        assert outcome.metrics[metric] >= least
        assert outcome.metrics[metric] > outcome.scores[-1].metrics[metric]
