"""What is dropped into the playground is used, or refused in one line."""

import gzip

import numpy as np
import pytest

from backpass.errors import UsageError
from backpass.live.playground import LARGEST, Playground


@pytest.fixture
def playground():
    made = Playground(None)
    yield made
    made.close()


def test_a_packed_table_is_as_large_as_what_is_in_it(playground):
    assert playground.take("small.csv.gz", gzip.compress(b"a,b\n1,x\n2,y\n"))["rows"] == 2
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * (LARGEST // 4), 9)
    assert len(packed) < LARGEST // 100
    with pytest.raises(UsageError, match="is larger than 32 MB"):
        playground.take("large.csv.gz", packed)


@pytest.mark.parametrize("settings", [5, "target", None, ["target"]])
def test_settings_that_are_none_are_refused(playground, settings):
    with pytest.raises(UsageError):
        playground.asked(settings)


def test_regions_begin_with_the_two_columns_that_tell_most(playground):
    """Of classes and of numbers, also where more is not steadily larger; in the order of the table."""
    rng = np.random.default_rng(0)
    a, b, c, d = rng.normal(size=(4, 400))
    rows = zip(a, b, c, d, b**2 + 0.1 * d, np.where(a + b + 0.1 * c > 0, "yes", "no"), strict=True)
    text = "a,b,c,d,y,kind\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    playground.take("t.csv", text.encode())
    assert playground.about("kind")["telling"] == ["a", "b"]
    assert "b" in playground.about("y")["telling"]
    assert playground.about("y")["numbers"] == ["a", "b", "c", "d"]
    assert playground.sample()["telling"] == ["petal_length", "petal_width"]
    playground.take("text.csv", b"a,b\nx,1\ny,2\nx,3\n" * 9)
    assert playground.about("b")["telling"] == []


def test_several_targets_are_refused_in_a_line(playground):
    """The page shows the answers to one; a name with a comma in it is one."""
    with pytest.raises(UsageError, match="the playground learns one target, and petal_width,species are several"):
        playground.train({"target": "petal_width,species"})
    playground.take("t.csv", b'x,"p,q"\n' + b"".join(b"%d,%d.5\n" % (k % 7, k % 5) for k in range(60)))
    assert playground.asked({"target": "p,q"})["target"] == "p,q"
