"""Dataclasses that are made when they are first used behave as the standard library's."""

import copy
import dataclasses
import inspect
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from backpass import records


def pair(first, second):
    """A class and one that inherits from it, made by two decorators of dataclasses."""

    @first(frozen=True)
    class Base:
        """A number."""

        a: int

    @second(frozen=True)
    class Derived(Base):
        """And what has a default."""

        b: float = 2.0
        c: list = dataclasses.field(default_factory=list)

    return Base, Derived


MIXTURES = [
    (records.dataclass, records.dataclass),
    (records.dataclass, dataclasses.dataclass),
    (dataclasses.dataclass, records.dataclass),
]


@records.dataclass(frozen=True)
class Kept:
    """Where pickle finds it."""

    a: int


@pytest.mark.parametrize("decorators", MIXTURES)
def test_it_is_what_the_standard_library_makes(decorators):
    """Fields, signature, comparison, hash, text and protection, also where one kind inherits from the other."""
    _, made = pair(*decorators)
    _, standard = pair(dataclasses.dataclass, dataclasses.dataclass)
    assert str(inspect.signature(made)) == str(inspect.signature(standard))
    assert [field.name for field in dataclasses.fields(made)] == ["a", "b", "c"]
    assert repr(made(1)) == repr(standard(1)).replace("standard", "made")
    assert made(1) == made(a=1, b=2.0, c=[]) != made(2)
    assert dataclasses.replace(made(1), b=3.0) == made(1, 3.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made(1).a = 2
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        made()


def test_methods_of_the_class_itself_stay_and_what_is_not_compared_is_not():
    """As the standard library has it, for every way to say what is compared, hashed and shown."""
    for dataclass in (records.dataclass, dataclasses.dataclass):

        @dataclass(frozen=True)
        class Own:
            a: int
            b: int = dataclasses.field(default=0, compare=False, repr=False)

            def __eq__(self, other):
                return isinstance(other, Own) and self.a % 2 == other.a % 2

            def __hash__(self):
                return self.a % 2

        @dataclass()
        class Open:
            a: int
            b: int = dataclasses.field(default=0, compare=False, repr=False)
            c: object = None

        @dataclass(frozen=True, eq=False, repr=False)
        class Bare:
            a: int

        @dataclass(frozen=True)
        class Empty: ...

        assert (Own(1), hash(Own(3))) == (Own(5), 1)
        assert repr(Own(1, 2)).endswith("Own(a=1)")
        assert Open(1, 2) == Open(1, 3) != Open(2, 2)
        assert Open(1) != Own(1)
        assert Open.__hash__ is None
        whole = Open(1)
        whole.c = [whole]
        assert repr(whole).endswith("Open(a=1, c=[...])")
        assert Bare(1) != Bare(1)
        assert len({Bare(1), Bare(1)}) == 2
        assert repr(Bare(1)).startswith("<")
        assert (Empty(), hash(Empty())) == (Empty(), hash(Empty()))


def test_the_base_alone_hashes_by_its_values():
    base, _ = pair(records.dataclass, records.dataclass)
    assert hash(base(1)) == hash(base(1))
    assert len({base(1), base(1), base(2)}) == 2


def test_nothing_is_made_before_the_first_use():
    """Neither by the decorator nor by a class that inherits."""
    base, derived = pair(records.dataclass, records.dataclass)
    assert "__init__" not in vars(base) | vars(derived)
    derived(1)
    assert "__init__" in vars(base)
    assert "__init__" in vars(derived)


def test_a_plain_class_may_inherit():
    base, _ = pair(records.dataclass, records.dataclass)

    class Plain(base):
        def __init__(self):
            super().__init__(7)

    assert str(inspect.signature(Plain)) == "()"
    assert Plain().a == 7


def test_copies_and_pickles():
    kept = Kept(5)
    assert copy.copy(kept) == copy.deepcopy(kept) == pickle.loads(pickle.dumps(kept)) == kept  # noqa: S301


def test_an_instance_has_no_signature_of_its_class():
    """Who asks how an instance is called is told of its `__call__`."""

    @records.dataclass(frozen=True)
    class Called:
        """A number."""

        a: int

        def __call__(self, x):
            return self.a + x

    assert str(inspect.signature(Called(1))) == "(x)"


def test_threads_that_use_it_first_at_once_all_find_it_made():
    """None comes between the beginning and the end of the making."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(50):
                _, made = pair(records.dataclass, records.dataclass)
                together = Barrier(4)

                def use(number, made=made, together=together):
                    together.wait()
                    return made(number).a, len(dataclasses.fields(made))

                assert list(pool.map(use, range(4))) == [(number, 3) for number in range(4)]
    finally:
        sys.setswitchinterval(interval)


def test_a_class_that_cannot_be_made_says_so_each_time():
    @records.dataclass
    class Wrong:
        first: int = 0
        second: str

    for _ in range(2):
        with pytest.raises(TypeError, match="second"):
            Wrong(1, "a")


@pytest.mark.parametrize("option", ["slots", "order", "unsafe_hash", "match_args"])
def test_what_cannot_wait_for_the_first_use_is_refused_at_once(option):
    with pytest.raises(TypeError, match=f"takes eq, frozen, init, kw_only, repr: found .*{option}"):
        records.dataclass(frozen=True, **{option: True})
