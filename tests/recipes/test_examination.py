"""What the doctor looks at when it is asked about a run, and what options do what it says."""

import numpy as np
import pytest

from backpass.doctor import Remedy
from backpass.model.calibration import Calibration, Threshold
from backpass.recipes import examination, plan


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The path of a table of six rows, of which a third are said yes: so few that nothing is tried."""
    table = tmp_path_factory.mktemp("few") / "few.csv"
    table.write_text("x,y\n" + "".join(f"{row},{'no' if row % 3 else 'yes'}\n" for row in range(6)), encoding="utf-8")
    return table


def test_the_doctor_counts_the_answers_that_the_run_gives(few):
    """Of two classes those by its threshold, of probabilities made more or less sure, not the likelier ones."""
    planned = plan(few, "y", test=0.0, validation=0.0)
    logits = np.linspace(-9, 9, 200)
    outputs = np.column_stack([-logits / 2, logits / 2])
    for threshold, temperature in ((0.0, 2.0), (0.1, 0.5), (0.8, 2.0), (1.0, 0.5)):
        calibration = Calibration(temperature, threshold=Threshold(threshold))
        case = examination.examine(planned, calibration=calibration).case
        probabilities = calibration.predictions(case.loss, outputs)
        assert np.array_equal(case.answers(outputs), calibration.threshold.answers(probabilities))


def test_before_a_run_has_ended_its_answers_are_by_the_threshold_that_was_asked_for(few):
    """Where that is a number; what is chosen for a score is not known before the end."""
    number, score = (plan(few, "y", test=0.0, validation=0.0, threshold=given) for given in (0.2, None))
    assert np.allclose(examination.examine(number).case.shares, [0.8, 0.2])
    assert examination.examine(score).case.shares is None


def test_a_threshold_that_answers_a_class_too_seldom_becomes_its_share(few):
    """Weights of classes would leave the threshold where it is; a run without one gets these."""
    planned, plain = (plan(few, "y", test=0.0, validation=0.0, threshold=given) for given in (0.9, None))
    after = examination.treated(planned, Remedy(balanced=True))
    assert after.asked["threshold"] == pytest.approx(1 / 3, abs=0.01)
    assert examination.options(planned, after) == ["--threshold 0.33"]
    assert examination.options(plain, examination.treated(plain, Remedy(balanced=True))) == ["--class-weights balanced"]


def test_of_networks_side_by_side_it_is_told_which_is_looked_at(few):
    """The first, and of several kinds of which it is; of one network there is nothing to tell."""
    given = {"test": 0.0, "validation": 0.0}
    blend = plan(few, "y", recipe={"kinds": ("additive", "linear"), "members": 4}, **given)
    assert examination.networks(blend) == {"looked_at": 1, "of": 4, "kind": "additive", "not": ["linear"]}
    assert examination.networks_told(blend) == [
        "looked at the first of 4 networks, of the kind additive; not at those of linear"
    ]
    alike, alone = (plan(few, "y", recipe={"members": count}, **given) for count in (2, 1))
    assert examination.networks_told(alike) == ["looked at the first of 2 networks"]
    assert examination.networks_told(alone) == []


def test_more_epochs_of_a_run_come_with_as_much_more_patience(few):
    """As in the trial that says what they bring."""
    planned = plan(few, "y", test=0.0, validation=0.0, recipe={"epochs": 10, "patience": 4})
    after = examination.treated(planned, Remedy(epochs=5))
    assert (after.recipe.epochs, after.recipe.patience) == (50, 20)
