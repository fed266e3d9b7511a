"""Sends broken and absurd requests to the page of a playground: each is answered in a line, and the page lives on.

    python tests/fuzz/fuzz_page.py --cases 5000 --seed 0

Methods, addresses, headers and bodies are drawn at random from what the page knows and from what nobody should send:
numbers that are too large or none, JSON that is too deep, bodies that are longer or shorter than they say, connections
that end in the middle or are left open. A failure is an answer of another kind or none, a mistake that the server logs,
and a training that ends by one; it is printed, with the request.
"""

# ruff: noqa: T201  (a module that talks)
from __future__ import annotations

import argparse
import json
import logging
import random
import re
import socket
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from backpass.live.playground import Playground
from backpass.live.server import Page, serving

SECONDS = 60.0  # for an answer: a training that is ended first may be under way
ROUTES = [
    *(
        "about",
        "overview",
        "step",
        "node",
        "weight",
        "sums",
        "matrix",
        "results",
        "layers",
        "norms",
        "table",
        "regions",
    ),
    *("model", "script", "news", "train", "sample", "steer", "take", "", "assets/main.js", "assets/", "no", "train/x"),
]
COMMANDS = ("train", "sample", "steer", "take")
NAMES = ("run", "step", "row", "member", "layer", "place", "name", "what", "target", "x", "y", "known", "held")
WORDS: list[Any] = [
    *("0", "1", "-1", "2", "9" * 30, "9" * 5000, "1e999", "nan", "", " ", "x", "hidden_1", "hidden_1.weight[0,0]"),
    *("output", "petal_length", "species", "change", "before", "é", "\0", "../etc", "%", "a" * 3000, '{"a":1}', "[[["),
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 1 << 31, 1 << 63, 10**30, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "1", "relu", "step", "hold", "go", "save", "a" * 3000, "\ud800", [], [1], [8, "x"], [None], [1] * 999),
    *({}, {"a": {}}, [[[]]]),
]
SETTINGS = {
    "target": "species", "hidden": [3], "activation": "tanh", "loss": "cross_entropy", "optimizer": "adam",
    "learning_rate": 0.01, "weight_decay": 0.0, "dropout": 0.0, "batch_size": 16, "epochs": 2, "seed": 0,
}  # fmt: skip
BODIES = [
    b"",
    b"{",
    b"null",
    b"[1]",
    b"[" * 60_000,
    b'{"do":' * 9_000,
    b"\xff\xfe",
    b"a,b\n1,x\n2,y\n" * 9,
    b"x" * 70_000,
]
ENDS = (200, 400, 403, 404, 405, 413, 422)


class Refused(Exception):  # noqa: N818  (what went wrong is its text)
    """An answer that no request may have."""


def body(draw: random.Random, route: str) -> bytes:
    """What is sent with a command."""
    if draw.random() < 0.25:
        return draw.choice(BODIES)
    if route == "take":
        return draw.choice(BODIES[-2:]) + bytes(draw.randrange(256) for _ in range(draw.choice((0, 0, 1, 40))))
    settings: Any = dict(SETTINGS)
    if draw.random() < 0.7:
        settings[draw.choice([*SETTINGS, "table", "recipe"])] = draw.choice(VALUES)
    content: dict[str, Any] = {"settings": settings, "do": draw.choice(["step", "hold", "go", "save", "stop"])}
    if draw.random() < 0.5:
        content[draw.choice(["settings", "do", "steps"])] = draw.choice(VALUES)
    return json.dumps(content).encode()


def request(draw: random.Random, host: str, token: str) -> tuple[bytes, str]:
    """A request as it is sent, and its route."""
    route = draw.choice(ROUTES)
    method = "POST" if route in COMMANDS else "GET"
    if draw.random() < 0.15:
        method = draw.choice(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "get", ""])
    query = "&".join(
        f"{draw.choice(NAMES)}={quote(draw.choice(WORDS)) if draw.random() < 0.9 else draw.choice(WORDS[:6])}"
        for _ in range(draw.choice((0, 1, 2, 3, 3)))
    )
    content = body(draw, route) if method != "GET" or draw.random() < 0.05 else b""
    headers = {"Host": host, "Origin": f"http://{host}", "Content-Length": str(len(content)), "Connection": "close"}
    if draw.random() < 0.25:
        name, value = draw.choice([
            ("Host", "evil.example"), ("Host", ""), ("Origin", "null"), ("Origin", ""), ("Content-Length", "9" * 25),
            ("Content-Length", "-1"), ("Content-Length", str(len(content) + 9)), ("Content-Length", "0"),
            ("Transfer-Encoding", "chunked"), ("Last-Event-ID", '{"run-1/0":9e999}'), ("Last-Event-ID", "[" * 9000),
            ("Upgrade", "websocket"), ("Connection", "upgrade"), ("Expect", "100-continue"), ("Range", "bytes=9-1"),
            ("X", "y" * 70_000), ("Accept-Encoding", "br;q=x"), ("Cookie", "\x7f"),
        ])  # fmt: skip
        headers[name] = value
    secret = token if draw.random() < 0.95 else draw.choice(["", "x", "..", token[:-1]])
    lines = [f"{method} /{secret}/{route}{'?' if query else ''}{query} HTTP/1.1", *map(": ".join, headers.items())]
    sent = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + content
    if draw.random() < 0.03:  # no HTTP at all
        sent = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 200))) + b"\r\n\r\n"
    return sent, route


def attempt(draw: random.Random, port: int, token: str) -> str:
    """Send one request, and judge the answer; in a word what came of it.

    Raises:
        Refused: the answer is none that there may be.
    """
    sent, route = request(draw, f"127.0.0.1:{port}", token)
    with socket.create_connection(("127.0.0.1", port), SECONDS) as line:
        way = draw.random()
        part = draw.randrange(len(sent)) if way < 0.2 else len(sent)
        try:
            line.sendall(sent[:part])
            if way < 0.1:
                return "left in the middle"
            line.sendall(sent[part:])
            if way > 0.95:
                return "left unheard"
            line.settimeout(0.3 if _promises_more(sent) else SECONDS)
            heard = _heard(line, route)
        except (ConnectionResetError, BrokenPipeError):
            return "closed"
        except TimeoutError:
            if line.gettimeout() == SECONDS:
                raise Refused(f"no answer: {sent[:300]!r}") from None
            return "waits for more"
    return _judged(heard, sent)


def _promises_more(sent: bytes) -> bool:
    """Whether the server must wait for what will not come."""
    head, _, content = sent.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"Content-Length: (\d+)\r", head) or [b"0"]
    return len(length) > 9 or int(length) > len(content) or b"chunked" in head


def _heard(line: socket.socket, route: str) -> bytes:
    """The answer to its end; of news the first."""
    heard = b""
    while part := line.recv(1 << 16):
        heard += part
        if route == "news" and heard.count(b"\n\n") > 1:
            break
    return heard


def _judged(heard: bytes, sent: bytes) -> str:
    head, _, content = heard.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not head:
        return "closed"
    status = int(words[1])
    if status not in ENDS:
        raise Refused(f"{heard[:500]!r} to {sent[:500]!r}")
    if b"application/json" in head and content and b"chunked" not in head:
        told = json.loads(content, parse_constant=lambda name: _no(name, sent))
        error = told.get("error", "") if isinstance(told, dict) else ""
        if status >= 400 and (not error or "\n" in error or len(error) > 600):
            raise Refused(f"{content[:500]!r} to {sent[:500]!r}")
    return str(status)


def _no(name: str, sent: bytes) -> None:
    raise Refused(f"{name} in JSON, to {sent[:500]!r}")


@contextmanager
def page() -> Iterator[tuple[Playground, int, str, list[str]]]:
    """A playground that is served: it, its port and secret, and the mistakes that are logged meanwhile."""
    mistakes: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trouble = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            mistakes.append(record.getMessage() + trouble)

    kept, logger, ground = Kept(logging.ERROR), logging.getLogger("uvicorn.error"), Playground()
    printed = traceback.print_exc
    traceback.print_exc = lambda *_, **__: mistakes.append(traceback.format_exc())
    try:
        with warnings.catch_warnings(), serving(Page([], ground), port=0) as door:
            warnings.simplefilter("ignore")
            logger.addHandler(kept)
            yield ground, door.port, door.token, mistakes
    finally:
        ground.close()
        logger.removeHandler(kept)
        traceback.print_exc = printed


def run(cases: int, seed: int) -> tuple[Counter[str], list[str]]:
    """What came of so many cases, and what went wrong."""
    ends: Counter[str] = Counter()
    failures: list[str] = []
    with page() as (ground, port, token, mistakes):
        for number in range(cases):
            try:
                ends[attempt(random.Random(f"{seed}/{number}"), port, token)] += 1
            except (Refused, OSError, ValueError) as error:
                failures.append(f"case {number}: {type(error).__name__}: {error}")
            if "mistake" in ground.error:
                mistakes.append(ground.error)
            failures += [f"case {number}: {each}" for each in mistakes]
            mistakes.clear()
    return ends, failures


def crowd(count: int) -> str:
    """So many connections that say nothing, and others that read news and do not listen: the page still answers."""
    with page() as (_, port, token, mistakes):
        open_ones = []
        for place in range(count):
            line = socket.create_connection(("127.0.0.1", port), 10)
            if place % 3 == 0:
                line.sendall(f"GET /{token}/news HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            elif place % 3 == 1:
                line.sendall(b"GET /" + b"x" * 20)
            open_ones.append(line)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), 10) as line:
            line.sendall(f"GET /{token}/about HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            heard = _heard(line, "about")
        for each in open_ones:
            each.close()
        if mistakes:
            raise Refused("; ".join(mistakes))
        return f"{heard[9:12].decode()} after {time.monotonic() - began:.2f} s"


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given.add_argument("--cases", type=int, default=5000)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--crowd", type=int, default=100)
    options = given.parse_args()
    began = time.monotonic()
    ends, failures = run(options.cases, options.seed)
    print(*failures, sep="\n")
    told = ", ".join(f"{end} {count:,}" for end, count in ends.most_common())
    print(f"{options.cases:,} cases in {time.monotonic() - began:.0f} s: {told}; failures {len(failures)}")
    print(f"beside {options.crowd} connections: {crowd(options.crowd)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
