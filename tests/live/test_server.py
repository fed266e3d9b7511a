"""What the page's server does with what nobody should send, and how much of the machine it takes."""

import asyncio
import http.client
import json
import logging
import socket
import time
from itertools import cycle
from types import SimpleNamespace

import pytest
from live_helpers import asked, page_of, until

from backpass.errors import UsageError
from backpass.live import playground as grounds
from backpass.live.door import Door
from backpass.live.playground import LARGEST, Playground
from backpass.live.server import ALIVE, PART, TICK, Pace, Page
from backpass.training import Steering

SETTINGS = {"target": "species", "hidden": [3], "epochs": 2}


@pytest.fixture
def ground():
    made = Playground()
    yield made
    made.close()


@pytest.fixture
def tell(ground):
    """Sends a command to a page about that playground: status, and what is answered."""
    with page_of(playground=ground) as address:
        own = address.rsplit("/", 2)[0]

        def told(what, content):
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            status, _, answer = asked(f"{address}{what}", data=body, Origin=own)
            return status, json.loads(answer)

        yield told


@pytest.mark.parametrize("steps", [10**30, -1, 0, 1.5, "3", True, [], 1 << 63])
def test_steps_that_are_no_number_of_steps_are_refused(tell, ground, steps):
    """In a line that says what was found and expected, and nothing begins."""
    status, answer = tell("train", {"settings": SETTINGS, "steps": steps})
    assert status == 422
    assert answer["error"].startswith("steps is ")
    assert "expected a whole number from 1 to" in answer["error"]
    assert ground.watched is None
    with pytest.raises(UsageError, match="expected a whole number"):
        Steering().make(steps)


def test_what_ends_a_training_by_a_mistake_is_shown_and_logged(tell, ground, monkeypatch, capfd):
    """The page has a line of it, the terminal where it was, and the next training trains."""
    with monkeypatch.context() as broken:
        broken.setattr(grounds, "fit_into", lambda *_, **__: 1 / 0)
        assert tell("train", {"settings": SETTINGS})[0] == 200
        until(lambda: ground.error)
    assert ground.error.startswith("the training ended by a mistake in backpass, ZeroDivisionError: division by zero")
    assert "Traceback" in capfd.readouterr().err
    assert tell("train", {"settings": SETTINGS})[0] == 200
    until(lambda: ground.watched.state == "finished", 90)
    assert ground.error == ""


def test_a_question_that_ends_in_a_mistake_is_answered_in_a_line(tell, ground, monkeypatch, capfd):
    """Status 500, JSON with what it was, and the place on the terminal."""
    monkeypatch.setattr(ground, "sample", lambda: {}["no"])
    status, answer = tell("sample", {})
    assert (status, answer) == (500, {"error": "a mistake in backpass, KeyError: 'no': see the terminal"})
    assert "Traceback" in capfd.readouterr().err


def test_an_upload_that_is_too_large_is_answered(tell):
    """It is read to its end and thrown away: so whoever sends it hears why it is not taken."""
    status, answer = tell("take?name=big.csv", b"a,b\n" + b"1,2\n" * (LARGEST // 2))
    assert (status, answer["error"]) == (413, "big.csv is larger than 32 MB: train on it with backpass train")
    status, answer = tell("train", b"[" * 70_000)
    assert (status, answer["error"]) == (413, "expected a JSON object of at most 64 kB")


def test_who_leaves_in_the_middle_of_an_upload_leaves_no_traceback(ground, caplog):
    """The connection is closed when half of it has come: nothing is logged, and the page goes on."""
    with caplog.at_level(logging.ERROR), page_of(playground=ground) as address:
        _, _, host, token, _ = address.split("/")
        for route in ("take", "train"):
            with socket.create_connection((host.split(":")[0], int(host.split(":")[1]))) as line:
                head = f"POST /{token}/{route} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
                line.sendall(f"{head}Content-Length: 5000\r\n\r\na,b\n".encode())
        assert asked(f"{address}about")[0] == 200
        time.sleep(0.1)
    assert caplog.records == []


def test_at_port_80_browsers_leave_the_port_out():
    """Their Host is a bare name then, of whichever kind; at other ports a bare name is a stranger's."""
    with socket.socket() as unused:
        usual, other = Door(unused, "127.0.0.1", 80, "t"), Door(unused, "127.0.0.1", 8642, "t")
        for host in ("127.0.0.1", "localhost", "LocalHost", "[::1]"):
            assert (usual.lets_in(host), other.lets_in(host)) == (True, False)
            assert usual.lets_in(f"{host}:80")
        assert not usual.lets_in("evil.example")
    assert Door(unused, "::", 80, "t").lets_in("[::1]")


def test_numbers_that_are_not_finite_are_null(ground, monkeypatch):
    """JSON has no NaN, and a browser reads none."""
    monkeypatch.setattr(ground, "about", lambda _: {"a": float("nan"), "b": [1, float("inf")]})
    with page_of(playground=ground) as address:
        assert asked(f"{address}table")[2] == b'{"a": null, "b": [1, null]}'


def test_news_that_are_only_asked_for_by_name_end(ground):
    """HEAD has no body, and waits for none."""
    with page_of(playground=ground) as address:
        host, path = address.split("/", 3)[2:]
        line = http.client.HTTPConnection(host, timeout=5)
        line.request("HEAD", f"/{path}news")
        assert line.getresponse().status == 200
        line.close()


def test_the_thread_of_the_page_works_a_small_part_of_the_time(monkeypatch):
    """After work of so long it rests for so many times as long, whatever the machine; what came first is free. Where a
    training of this process has a quarter of a core, that is its time.
    """
    clock = {"thread_time": 5.0, "process_time": 1.0, "monotonic": 0.0}
    for name in ("thread_time", "process_time", "monotonic"):
        monkeypatch.setattr(time, name, lambda name=name: clock[name])

    def rested(worked, share):
        """Seconds after so much work, of a process that has that share of the processor."""
        pace.begin()
        clock["thread_time"] += worked
        pace.done()
        began = clock["monotonic"]
        while left := pace.left(within=True):
            clock["monotonic"] += left
            clock["process_time"] += share * left
        return clock["monotonic"] - began

    pace = Pace()
    assert rested(3.0, 1.0) == pytest.approx(TICK)
    assert rested(0.001, 1.0) == pytest.approx(TICK)
    assert rested(0.03, 1.0) == pytest.approx(0.03 / PART, abs=2 * TICK)
    assert rested(0.015, 0.25) == pytest.approx(4 * 0.015 / PART, abs=2 * TICK)
    assert rested(9.0, 1.0) == pytest.approx(ALIVE)
    pace.begin()
    clock["thread_time"] += 0.03
    pace.done()
    clock["monotonic"] += 0.031 / PART
    assert pace.left(within=False) == 0
    assert pace.left(within=False, among=2) > 0
    assert pace.left(within=True) > 0


def test_a_page_that_rests_ends_at_once_and_hears_of_a_pause(ground, monkeypatch):
    """Though its next look is due in ten seconds: no task is left to be cancelled, and what waits is told of."""
    steering = SimpleNamespace(waits=False, history=SimpleNamespace(reason=""))
    watched = SimpleNamespace(steering=steering, stands=("training", 1))
    monkeypatch.setattr(Page, "watched", [watched])
    told = {"key": "", "steps": 0, "trouble": "", "columns": {}, "steered": True}
    monkeypatch.setattr(Page, "_news_of", lambda *_, **__: told | {"state": watched.stands[0]})
    rests = cycle([0.01, 0.0])
    monkeypatch.setattr(Pace, "left", lambda _, within, among: 9.0 if within else next(rests))
    page = Page([], ground)

    async def listened():
        news = page.news({})
        first = await anext(news)
        later = asyncio.create_task(anext(news))
        await asyncio.sleep(0.1)
        watched.stands, steering.waits = ("waiting", 1), True
        second = await asyncio.wait_for(later, 3)
        steering.waits = False
        last = asyncio.create_task(anext(news, None))
        await asyncio.sleep(0.1)
        page.ends.set()
        return first, second, await asyncio.wait_for(last, 3)

    states = [each and json.loads(each.partition("data: ")[2])["runs"][0]["state"] for each in asyncio.run(listened())]
    assert states == ["training", "waiting", None]


def test_news_keep_to_the_pace_however_many_listen(ground, monkeypatch):
    """Looks that cost 5 ms each, for 4 listeners: the thread's own clock stays within its part of the time."""

    def slow(*_, **__):
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        return {"key": "", "state": "", "steps": 0, "trouble": "", "columns": {}, "steered": False}

    monkeypatch.setattr(Page, "_news_of", slow)
    monkeypatch.setattr(Page, "watched", [SimpleNamespace(steering=None)])
    page = Page([], ground)

    async def listened():
        async def one():
            async for _ in page.news({}):
                pass

        tasks = [asyncio.create_task(one()) for _ in range(4)]
        await asyncio.sleep(0.3)
        worked, began = time.thread_time(), time.monotonic()
        await asyncio.sleep(2)
        part = (time.thread_time() - worked) / (time.monotonic() - began)
        page.ends.set()
        for task in tasks:
            task.cancel()
        return part

    assert asyncio.run(listened()) < 3 * PART
