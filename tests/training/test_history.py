"""A history is a list of records, whenever these are made."""

import copy
import itertools
import json
import linecache
import os
import pickle
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from operator import add, iadd

import pytest

from backpass.training import History
from backpass.training import history as history_module

RECORDS = [{"epoch": epoch, "loss": 1 / epoch} for epoch in range(1, 6)]


def assigned(history):
    found = [None]
    found[:] = history
    return found


def listed(*records):
    return [*records]


LOOKS = {
    "list": list,
    "len": lambda history: [None] * len(history) and RECORDS,
    "slice": lambda history: history[:],
    "copy": lambda history: history.copy(),
    "copy.copy": lambda history: list(copy.copy(history)),
    "pickle": lambda history: list(pickle.loads(pickle.dumps(history))),  # noqa: S301 - our own
    "json": lambda history: json.loads(json.dumps(history)),
    "json, indented": lambda history: json.loads(json.dumps(history, indent=1)),
    "reversed": lambda history: list(reversed(history))[::-1],
    "added": lambda history: add(history, []),
    "added to a list": lambda history: add([], history),
    "added in place": lambda history: iadd([], history),
    "put into a list": lambda history: [*history],
    "assigned to a slice": assigned,
    "sorted": lambda history: sorted(history, key=lambda record: record["epoch"]),
    "twice": lambda history: (history * 2)[:5],
    "last": lambda history: [*RECORDS[:4], history[-1]],
    "popped": lambda history: [*RECORDS[:4], history.pop()],
    "counted": lambda history: RECORDS if history.count(RECORDS[4]) == 1 and RECORDS[2] in history else [],
    "printed": lambda history: RECORDS if repr(history) == repr(RECORDS) else [],
    "unpacked": lambda history: listed(*history),
}


def history_of(*pieces):
    """A history of which all but the first records are still to be made; and how often each piece was."""
    history, made = History(), []
    history.extend(RECORDS[:1])
    for first, last in pieces:
        history.add_later(last, lambda first=first, last=last: made.append(first) or RECORDS[first - 1 : last])
    return history, made


@pytest.mark.parametrize("name", LOOKS)
def test_whoever_looks_sees_all_records(name):
    history, made = history_of((2, 3), (4, 5))
    assert not made
    assert LOOKS[name](history) == RECORDS
    assert made == [2, 4]


@pytest.mark.parametrize("name", ["__eq__", "__ne__", "__lt__", "__ge__"])
def test_it_compares_as_the_list_that_it_is(name):
    longer = [*RECORDS, {"epoch": 6}]
    for other in (RECORDS, RECORDS[:3]) if name in ("__eq__", "__ne__") else ([],):
        assert getattr(history_of((2, 5))[0], name)(other) == getattr(RECORDS, name)(other)
    assert history_of((2, 5))[0] == RECORDS == history_of((2, 5))[0]
    assert longer != history_of((2, 5))[0]


def test_every_method_of_lists_that_looks_or_changes_makes_the_records_before():
    """A method that a new Python gives to lists would be noticed here."""
    left = {"__class__", "__class_getitem__", "__delattr__", "__dir__", "__doc__", "__format__", "__getattribute__"}
    left |= {"__getstate__", "__hash__", "__init__", "__init_subclass__", "__new__", "__reduce__", "__reduce_ex__"}
    left |= {"__setattr__", "__sizeof__", "__str__", "__subclasshook__"}
    assert {name for name in dir(list) if name not in vars(History)} <= left


def test_the_last_epoch_is_known_before_its_record_is_made():
    history, made = history_of((2, 3), (4, 5))
    assert history.last_epoch == 5
    assert not made
    assert len(history) == history.last_epoch == 5
    assert History().last_epoch is None


def test_what_is_added_stands_behind_what_is_still_to_be_made():
    history, _ = history_of((2, 4))
    history.append(RECORDS[4])
    assert history == RECORDS


def test_a_list_that_takes_it_stays_the_list_that_it_is():
    """Whoever else holds that list sees the records, too."""
    taken = also = []
    taken += history_of((2, 5))[0]
    assert also is taken
    assert also == RECORDS


def test_records_of_which_the_making_is_interrupted_are_made_once():
    """Wherever Ctrl-C comes, whoever looks next sees each record once."""
    for line in itertools.count(1):
        history, _ = history_of((2, 3), (4, 5))
        lines = itertools.count(1)

        def interrupt(frame, event, _, line=line, lines=lines):
            code = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            # Python handles signals at calls, and so not as it leaves a `with`, though who traces sees a line there.
            here = frame.f_code.co_filename == history_module.__file__ and not code.startswith("with ")
            if here and event == "line" and next(lines) == line:
                raise KeyboardInterrupt
            return interrupt

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            found = list(history)
        except KeyboardInterrupt:
            found = None
        finally:
            sys.settrace(before)
        assert list(history) == RECORDS
        if found is not None:
            break
    assert line > 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_is_forked_while_another_thread_looks_can_look():
    history, _ = history_of((2, 5))
    holds, done = threading.Event(), threading.Event()

    def hold():
        with history_module._making.lock:
            holds.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # and not for ever
        os._exit(0 if list(history) == RECORDS else 1)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_several_threads_that_look_at_once_see_the_same_records():
    for _ in range(50):
        history, made = history_of((2, 3), (4, 5))
        ready = threading.Barrier(4)

        def look(history=history, ready=ready):
            ready.wait()
            return list(history)

        with ThreadPoolExecutor(4) as pool:
            looks = [pool.submit(look) for _ in range(4)]
        assert [each.result() for each in looks] == [RECORDS] * 4
        assert made == [2, 4]
