"""What is dropped into the playground is used, or refused in one line."""

import gzip

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
