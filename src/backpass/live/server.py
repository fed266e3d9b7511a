"""What the page asks for, and who answers: an application of a few addresses behind the door, served by uvicorn."""

import asyncio
import json
import math
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any

from backpass.errors import BackpassError, UsageError
from backpass.live import layers, overview, picture, results
from backpass.live.door import HOME, PORT, Door, Guard, open_browser, open_door
from backpass.live.playground import LARGEST, Playground
from backpass.live.watched import Watched
from backpass.recipes import fields

TICK = 0.1  # seconds from one look at the runs to the next
SLOW = 0.5  # seconds until what no eye can see in a curve, less than one point in so many, is told
SEEN = 1500
ALIVE = 10.0  # seconds without news, after which the page is told that there are none
PART = 0.01  # of the time, at most, may the page's thread work: what watches slows no training by more
COMMAND = 1 << 16  # bytes of a command, at most
SECOND = 1.0  # from one look of the server at itself to the next
PATIENCE = 10.0  # seconds for what is too large, until it is left
LINE = 500  # characters of what is told of an error
CONNECTIONS = 256
_KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_ASSETS = {
    **dict.fromkeys(("style.css", "charts.js", "uPlot.iife.min.js", "uPlot.min.css"), "backpass.pages"),
    **dict.fromkeys(
        (
            "live.css",
            "dom.js",
            "main.js",
            "curves.js",
            "network.js",
            "story.js",
            "results.js",
            "layers.js",
            "playground.js",
        ),
        "backpass.live",
    ),
}


class Pace:
    """How long to wait between two looks, so that the thread works a PART of the time at most, by its own clock.

    All that the thread does counts, for whomever it is done; but not what came before the first look. Where the
    training that is looked at is one of this process, the time is what the process has of the processor: where many
    want that, it is less.
    """

    def __init__(self) -> None:
        self._worked, self._clocks = 0.0, (0.0, 0.0, 0.0)

    def done(self) -> None:
        """The work of a look is done."""
        now = time.thread_time(), time.process_time(), time.monotonic()
        self._worked = now[0] - self._clocks[0] if self._clocks[0] else 0.0
        self._clocks = now

    def left(self, *, within: bool) -> float:
        """Seconds to wait from now on, then to ask again; 0 for none. `within` says that a training goes on here."""
        gone = time.monotonic() - self._clocks[2]
        given = time.process_time() - self._clocks[1] if within else gone
        if gone >= ALIVE or (gone >= TICK and given * PART >= self._worked):
            return 0.0
        missing = self._worked / PART - given
        return min(ALIVE - gone, max(TICK, missing * min(50.0, gone / given) if given else 0.0))


class Page:
    """The runs that are shown, and what is asked of them.

    Attributes:
        watched: the runs; of a playground that which trains.
        playground: where one can train; None elsewhere.
    """

    def __init__(self, watched: list[Watched], playground: Playground | None = None) -> None:
        self._watched = watched
        self.playground = playground
        self.ends = threading.Event()
        self._one = threading.Lock()

    @property
    def watched(self) -> list[Watched]:
        if self.playground is None:
            return self._watched
        return [self.playground.watched] if self.playground.watched is not None else []

    def of(self, query: Any) -> Watched:
        """The run that is asked for."""
        try:
            return self.watched[int(query.get("run", "0"))]
        except (ValueError, IndexError):
            raise UsageError("there is no such run on this page") from None

    # Questions, by the last part of the address

    def about(self, _: Any) -> Any:
        from backpass import __version__

        live = any(each.steering is not None for each in self.watched)
        kind = "playground" if self.playground is not None else "live" if live else "show"
        return {"kind": kind, "version": __version__, "runs": [each.name for each in self.watched]}

    def overview(self, query: Any) -> Any:
        return overview.overview(self.of(query).run)

    def step(self, query: Any) -> Any:
        return picture.picture(self._ledger(query))

    def node(self, query: Any) -> Any:
        return picture.node(self._ledger(query), query.get("layer", ""), _whole(query, "place") or 0)

    def weight(self, query: Any) -> Any:
        return picture.weight(self._ledger(query), query.get("name", ""))

    def sums(self, query: Any) -> Any:
        found = self._ledger(query).sums
        return {"ok": found.ok, "count": found.count, "weights": found.weights, "worst": found.worst}

    def matrix(self, query: Any) -> bytes:
        values, _ = picture.matrix(self._ledger(query), query.get("name", ""), query.get("what", "change"))
        return values.tobytes()

    def results(self, query: Any) -> Any:
        return results.results(self.of(query).run)

    def layers(self, query: Any) -> Any:
        return layers.layers(self.of(query).run)

    def norms(self, query: Any) -> Any:
        return layers.norms(self.of(query).run)

    def table(self, query: Any) -> Any:
        return self._playground.about(query.get("target"))

    def regions(self, query: Any) -> Any:
        return self._playground.regions(query.get("x", ""), query.get("y", ""))

    def model(self, _: Any) -> bytes:
        return self._playground.model()

    def script(self, _: Any) -> Any:
        return {"script": self._playground.script()}

    @property
    def _playground(self) -> Playground:
        if self.playground is None:
            raise UsageError("this page is no playground")
        return self.playground

    def _ledger(self, query: Any) -> Any:
        watched, step = self.of(query), _whole(query, "step")
        row, member = _whole(query, "row"), _whole(query, "member")
        if step is None:
            if row is None:
                raise UsageError("no step is given, and no row")
            return watched.held_out(row, member)
        return watched.ledger(step, row, member)

    # Commands

    def steer(self, content: Any, query: Any) -> Any:
        steering = self.of(query).steering
        if steering is None:
            raise UsageError("this run is trained elsewhere, or has ended: it can be looked at alone")
        does = {"hold": steering.hold, "go": steering.go_on, "save": steering.save, "stop": steering.stop}
        asked = content.get("do")
        if asked == "step":
            steering.make(1)
        elif isinstance(asked, str) and asked in does:
            does[asked]()
        else:
            raise UsageError(f"do is {asked!r:.40}, expected one of step, {', '.join(does)}")
        return {}

    def train(self, content: Any, _: Any) -> Any:
        self._playground.train(content.get("settings") or {}, steps=content.get("steps"))
        return {}

    def sample(self, _content: Any, _query: Any) -> Any:
        return self._playground.sample()

    def call(self, ask: Callable[..., Any], *given: Any) -> Any:
        """One question at a time: each may take all of the machine."""
        with self._one:
            return ask(*given)

    # News

    async def news(self, known: dict[str, int]) -> AsyncIterator[str]:
        """What is new of the runs, as server-sent events, as long as somebody listens. `known` says how many records
        of a run's generation the page has already.
        """
        import anyio

        before: Any = None
        quiet = waited = gone = 0.0
        pace = Pace()
        while not self.ends.is_set():
            told = [self._news_of(each, known, small=waited < SLOW) for each in self.watched]
            state = [[each[name] for name in ("key", "state", "steps", "trouble")] for each in told], self._error
            new = any(each["columns"] for each in told)
            waited = 0.0 if new else waited + gone
            if new or state != before:
                before, quiet = state, 0.0
                place = json.dumps(known, separators=(",", ":"))
                yield f"id: {place}\ndata: {json.dumps({'runs': told, 'error': self._error})}\n\n"
            elif quiet > ALIVE:
                quiet = 0.0
                yield ": nothing new\n\n"
            pace.done()
            within = any(each["steered"] and each["state"] == fields.TRAINING for each in told)
            gone = time.monotonic()
            while left := pace.left(within=within):  # noqa: ASYNC110  (it is a clock that is waited for)
                await anyio.sleep(left)
            gone = time.monotonic() - gone
            quiet += gone

    @property
    def _error(self) -> str:
        return self.playground.error if self.playground is not None else ""

    def _news_of(self, watched: Watched, known: dict[str, int], *, small: bool) -> dict[str, Any]:
        """Those of a run; where `small` ones may wait, without records that are few beside those known."""
        trouble = ""
        try:
            watched.look()
        except BackpassError as error:
            trouble = str(error)
        key, (state, steps) = f"{watched.run.folder.name}/{watched.generation}", watched.stands
        first = min(known.get(key, 0), len(watched.records))
        end = len(watched.records)
        if small and state == fields.TRAINING and (end - first) * SEEN < end:
            end = first
        new = watched.records[first:end]
        known[key] = end
        return {
            "name": watched.name, "key": key, "from": first, "columns": _columns(new), "state": state,
            "steps": steps, "steered": watched.steering is not None, "trouble": trouble,
        }  # fmt: skip


def _columns(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """What records hold, by name, as JSON can have it; how long an epoch took is left to its speed."""
    names = dict.fromkeys(name for record in records for name in record if name != "seconds")
    found = {name: [record.get(name) for record in records] for name in names}
    for name, values in found.items():
        if not all(value is not None and math.isfinite(value) for value in values):
            found[name] = [value if value is not None and math.isfinite(value) else None for value in values]
    return found


def _whole(query: Any, name: str) -> int | None:
    text = query.get(name)
    if text in (None, ""):
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} is {text[:40]}, expected a whole number") from None


def application(page: Page, door: Door) -> Any:
    """The ASGI application of a page."""
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect
    from starlette.routing import Route

    questions = ("about", "overview", "step", "node", "weight", "sums", "matrix", "results", "layers", "norms")
    of_playground = ("table", "regions", "model", "script")
    answers = _Answers(page)
    routes = [
        Route("/", _asset),
        Route("/news", answers.news),
        *(Route(f"/{name}", answers.question(getattr(page, name))) for name in (*questions, *of_playground)),
        *(Route(f"/{name}", answers.command(getattr(page, name)), methods=["POST"]) for name in ("train", "sample")),
        Route("/steer", answers.command(page.steer, waits=False), methods=["POST"]),
        Route("/take", answers.take, methods=["POST"]),
        Route("/assets/{name}", _asset),
    ]
    return Guard(Starlette(routes=routes, exception_handlers={ClientDisconnect: _nobody}), door)


class _Answers:
    """From requests to what the page answers, and back."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def _answer(self, ask: Callable[..., Any], *given: Any, waits: bool = True) -> Any:
        """What is answered, or a line that says why nothing is. One that does not wait is asked at once, whatever is
        being calculated.
        """
        import anyio
        from starlette.responses import Response

        try:
            content, kind = (
                await anyio.to_thread.run_sync(lambda: _written(self._page.call(ask, *given)))
                if waits
                else _written(ask(*given))
            )
        except BackpassError as error:
            return _refused(str(error))
        except MemoryError:
            return _refused("there is not enough memory for this")
        except asyncio.CancelledError:  # the page ends, and waits no longer
            return _refused("this page has ended")
        except Exception as error:  # noqa: BLE001 - the page is told, and goes on
            traceback.print_exc()
            return _refused(f"a mistake in backpass, {type(error).__name__}: {error}: see the terminal", 500)
        return Response(content, media_type=f"application/{kind}")

    def question(self, ask: Callable[[Any], Any]) -> Any:
        async def answer(request: Any) -> Any:
            return await self._answer(ask, request.query_params)

        return answer

    def command(self, ask: Callable[[Any, Any], Any], *, waits: bool = True) -> Any:
        async def answer(request: Any) -> Any:
            content: Any = None
            with suppress(ValueError, RecursionError):
                body = await _body(request, COMMAND)
                if body is None:
                    return _refused(f"expected a JSON object of at most {COMMAND >> 10} kB", 413)
                content = json.loads(body)
            if not isinstance(content, dict):
                return _refused("expected a small JSON object")
            return await self._answer(ask, content, request.query_params, waits=waits)

        return answer

    async def take(self, request: Any) -> Any:
        content, name = await _body(request, LARGEST), request.query_params.get("name", "table.csv")
        if self._page.playground is None:
            return _refused("this page is no playground")
        if content is None:
            return _refused(f"{name[:80]} is larger than {LARGEST >> 20} MB: train on it with backpass train", 413)
        return await self._answer(self._page.playground.take, name, content)

    async def news(self, request: Any) -> Any:
        from starlette.responses import Response, StreamingResponse

        if request.method == "HEAD":  # of a stream that does not end
            return Response(media_type="text/event-stream")

        known: Any = None
        with suppress(ValueError, RecursionError):
            known = json.loads(request.headers.get("last-event-id") or request.query_params.get("known") or "{}")
        whole = isinstance(known, dict) and all(type(each) is int and each >= 0 for each in known.values())
        return StreamingResponse(self._page.news(known if whole else {}), media_type="text/event-stream")


async def _asset(request: Any) -> Any:
    from starlette.responses import Response

    name = request.path_params.get("name", "index.html")
    home = "backpass.live" if name == "index.html" else _ASSETS.get(name)
    if home is None:
        return Response("there is no such file", 404)
    return Response((files(home) / "assets" / name).read_bytes(), media_type=_KINDS[name.rpartition(".")[2]])


async def _nobody(_request: Any, _error: Exception) -> Any:
    """The answer to who went before the question was whole."""
    return _refused("the connection was closed")


def _refused(why: str, status: int = 422) -> Any:
    from starlette.responses import JSONResponse

    line = " ".join(why.encode(errors="replace").decode().split())
    return JSONResponse({"error": line if len(line) <= LINE else f"{line[: LINE - 1]}…"}, status)


def _written(found: Any) -> tuple[bytes, str]:
    """An answer as bytes, and of which kind they are. JSON knows no number that is not finite."""
    if isinstance(found, bytes):
        return found, "octet-stream"
    try:
        return json.dumps(found, default=float, allow_nan=False).encode(), "json"
    except ValueError:
        return json.dumps(_finite(found), default=float).encode(), "json"


def _finite(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _finite(value) for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_finite(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


async def _body(request: Any, most: int) -> bytes | None:
    """The body of a request; None where it is larger than that. Of such a one the rest is read, too, for a while: who
    is still sending hears no answer.
    """
    parts, size, patience = [], 0, 0.0
    async for part in request.stream():
        size += len(part)
        if size <= most:
            parts.append(part)
            continue
        parts.clear()
        patience = patience or time.monotonic() + PATIENCE
        if time.monotonic() > patience:
            break
    return None if size > most else b"".join(parts)


def _quiet(config: Any) -> Any:
    """A server that looks once a second whether it is to end, not ten times, and can be told so by another thread."""
    import uvicorn

    class Quiet(uvicorn.Server):
        _ends: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

        async def main_loop(self) -> None:
            ends = asyncio.Event()
            self._ends = asyncio.get_running_loop(), ends
            while not await self.on_tick(0):
                with suppress(TimeoutError):
                    await asyncio.wait_for(ends.wait(), SECOND)

        def end(self) -> None:
            self.should_exit = True
            if self._ends is not None:
                with suppress(RuntimeError):  # it has ended by itself
                    self._ends[0].call_soon_threadsafe(self._ends[1].set)

    return Quiet(config)


@contextmanager
def serving(page: Page, *, host: str = HOME, port: int = PORT) -> Iterator[Door]:
    """Within this the page is there, served by a thread of its own.

    Raises:
        UsageError: the host is none of this machine.
    """
    import uvicorn

    door = open_door(host, port)
    options: dict[str, Any] = {"log_level": "error", "access_log": False, "lifespan": "off", "server_header": False}
    config = uvicorn.Config(
        application(page, door), timeout_graceful_shutdown=1, limit_concurrency=CONNECTIONS, **options
    )
    server = _quiet(config)
    thread = threading.Thread(target=server.run, args=([door.socket],), name="backpass page", daemon=True)
    thread.start()
    try:
        yield door
    finally:
        page.ends.set()
        server.end()
        thread.join(5)
        door.socket.close()


__all__ = ["Page", "Playground", "Watched", "open_browser", "serving"]
