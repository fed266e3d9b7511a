"""The door of the page: an address of this machine alone, with a secret in it; who does not know it gets nothing."""

import asyncio
import hmac
import ipaddress
import os
import secrets
import socket
import sys
import webbrowser
from contextlib import suppress
from typing import Any

from backpass.errors import UsageError
from backpass.records import dataclass

HOME = "127.0.0.1"
PORT = 8642
_PATIENCE = 5.0  # seconds until a connection that is closed is gone, or who is refused has been heard out
_MOST_HEARD = 1 << 16  # bytes of what is sent by who is refused
_TRIES = 50  # ports after the one that is wanted
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}


@dataclass(frozen=True, eq=False)
class Door:
    """An open port, and the secret that is part of the address.

    Attributes:
        socket: bound, to be listened on.
        host: as it was asked for.
        port: that was free.
        token: the secret.
    """

    socket: socket.socket
    host: str
    port: int
    token: str

    @property
    def address(self) -> str:
        """What to type into a browser."""
        host = HOME if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{_in_address(host)}:{self.port}/{self.token}/"

    def lets_in(self, host: str) -> bool:
        """Whether a request for this Host is one for this machine, and no stranger's name that leads here."""
        name, port = _name_and_port(host.lower())
        if port != str(self.port):
            return False
        if self.host in (HOME, "localhost", "::1"):
            return name in (HOME, "localhost", "[::1]")
        own = (self.host, _in_address(self.host), "localhost", socket.gethostname())
        if name in [each.lower() for each in own]:
            return True
        with suppress(ValueError):
            return bool(ipaddress.ip_address(name.strip("[]")))
        return False


def open_door(host: str = HOME, port: int = PORT) -> Door:
    """A door at `port`, or at the next one that is free.

    Raises:
        UsageError: none is, or the host is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for each in [*range(port, min(port + _TRIES, 1 << 16)), 0]:
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, each))
            found.listen(64)
        except (OSError, OverflowError) as error:
            found.close()
            if isinstance(error, socket.gaierror) or getattr(error, "errno", 0) in _NOT_HERE:
                raise UsageError(f"--host {host}: is no address of this machine: leave it out, or give one") from None
            continue
        return Door(found, host, found.getsockname()[1], secrets.token_urlsafe(16))
    raise UsageError(f"--port {port}: neither it nor another port is free")


_NOT_HERE = {99, 49, 10049}  # EADDRNOTAVAIL of Linux, macOS and Windows


def _name_and_port(host: str) -> tuple[str, str]:
    """Of what a browser calls Host: it leaves out the port where that is the usual one."""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and not host.endswith("]") else (host, "80")


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _GivenUp(Exception):  # noqa: N818  (no error: nobody listens)
    """An answer that cannot be sent: what came was no HTTP, and the server has said so already."""


async def _heard_out(receive: Any) -> None:
    """Take in what somebody sends who is refused, up to a bound."""
    taken, more = 0, True
    while more and taken < _MOST_HEARD:
        message = await receive()
        taken += len(message.get("body", b""))
        more = message.get("more_body", False)


async def _end_of(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Guard:
    """Stands before an application: Host, Origin and the secret are checked before anything else is looked at."""

    def __init__(self, application: Any, door: Door) -> None:
        self._application = application
        self._door = door

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        refusal = self._refusal(scope)

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                more = [pair for pair in _HEADERS.items() if pair[0] not in own]
                message = {**message, "headers": [*message["headers"], *more]}
            try:
                await send(message)
            except Exception as error:  # of a connection that the server has given up: it knows how to say so
                raise _GivenUp from error

        try:
            if refusal is None:
                scope = {**scope, "path": scope["path"][len(self._door.token) + 1 :]}
                await self._application(scope, receive, sent)
            elif scope["type"] == "http":
                with suppress(
                    TimeoutError
                ):  # an answer before the question is heard out may be lost with the connection
                    await asyncio.wait_for(_heard_out(receive), _PATIENCE)
                plain = [(b"content-type", b"text/plain; charset=utf-8")]
                await sent({"type": "http.response.start", "status": 403, "headers": plain})
                await sent({"type": "http.response.body", "body": refusal.encode()})
            else:
                await send({"type": "websocket.close", "code": 1008})
        except _GivenUp:
            with suppress(TimeoutError):
                await asyncio.wait_for(_end_of(receive), _PATIENCE)

    def _refusal(self, scope: Any) -> str | None:
        if scope["type"] != "http":
            return "only http"
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._door.lets_in(host):
            return "This address is not the one of the page: use the one that backpass printed."
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") != f"http://{host}":
            return "Another page asks for this one: that is not allowed."
        if origin is None and scope["method"] not in ("GET", "HEAD"):
            return "A request that changes something must say which page it comes from."
        first = "/".join(scope["path"].split("/", 2)[:2])  # of "*" or "x" all: not every path begins with a stroke
        if not hmac.compare_digest(first.encode(), f"/{self._door.token}".encode()):
            return "The address lacks its secret part: use the whole one that backpass printed."
        return None


def open_browser(address: str) -> bool:
    """Show the page in a browser, where there is one with windows; whether there was."""
    windows = sys.platform in ("win32", "darwin") or any(os.environ.get(x) for x in ("DISPLAY", "WAYLAND_DISPLAY"))
    if not windows:
        return False
    with suppress(webbrowser.Error, OSError):
        return webbrowser.open(address)
    return False
