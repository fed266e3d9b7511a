"""Who gets in: a request of this machine that knows the secret, and asks for what is shown."""

import http.client
import socket

import pytest
from live_helpers import asked, page_of

from backpass.errors import UsageError
from backpass.live.door import Door, open_door


@pytest.fixture(scope="module")
def address(finished_run):
    with page_of(finished_run) as found:
        yield found


def test_the_page_and_its_files_are_served_with_rules_for_the_browser(address):
    """The page is there for who knows the address; nothing of another origin may be loaded by it."""
    status, headers, content = asked(address)
    assert status == 200
    assert b"backpass" in content
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert asked(f"{address}assets/main.js")[0] == 200
    assert asked(f"{address}assets/uPlot.min.css")[0] == 200


def test_without_the_secret_nothing_is_told(address):
    """No secret, or another one, is refused, whatever is asked for."""
    home = address.rsplit("/", 2)[0]
    for path in ("/", "/about", "/x/about", f"/{'a' * 22}/about", "/assets/main.js"):
        status, _, content = asked(home + path)
        assert (status, b"secret" in content) == (403, True)


@pytest.mark.parametrize(("method", "path"), [("OPTIONS", "*"), ("GET", "*"), ("GET", "{secret}/about")])
def test_a_path_that_does_not_begin_with_a_stroke_is_refused(address, method, path):
    """As HTTP allows it, or not: it is no address of this page."""
    _, _, host, secret, _ = address.split("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request(method, path.format(secret=secret), headers={"Origin": f"http://{host}"})
    assert connection.getresponse().status == 403
    connection.close()


def test_a_strangers_name_for_this_machine_is_refused(address):
    """A Host that is not this machine's own is that of a page elsewhere, whose name was made to lead here."""
    port = address.split(":")[2].split("/")[0]
    for host in (f"evil.example:{port}", "127.0.0.1:1", "127.0.0.1", f"127.0.0.1.evil.example:{port}"):
        assert asked(f"{address}about", Host=host)[0] == 403
    assert asked(f"{address}about", Host=f"localhost:{port}")[0] == 200


def test_another_page_may_not_ask_and_who_changes_something_says_where_it_comes_from(address):
    """Origin must be the page's own; a request that changes something must have one."""
    own = address.rsplit("/", 2)[0]
    assert asked(f"{address}about", Origin="http://evil.example")[0] == 403
    assert asked(f"{address}steer", data=b"{}")[0] == 403
    assert asked(f"{address}steer", data=b"{}", Origin="null")[0] == 403
    assert asked(f"{address}steer", data=b'{"do": "stop"}', Origin=own)[0] == 422


@pytest.mark.parametrize(
    "path", ["assets/../door.py", "assets/%2e%2e/door.py", "assets//etc/passwd", "run.json", "..", "assets/door.py"]
)
def test_no_other_file_is_served(address, path):
    """Neither of the run's folder, nor of the package, nor of the machine."""
    assert asked(address + path)[0] in (403, 404)


def test_a_port_in_use_is_passed_over():
    """The next one that is free is taken."""
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        door = open_door(port=port)
        door.socket.close()
    assert door.port != port
    assert len(door.token) >= 20


def test_a_host_that_is_not_here_is_named():
    """An address of another machine cannot be listened on, and the line says so."""
    with pytest.raises(UsageError, match=r"--host 192\.0\.2\.1: is no address of this machine"):
        open_door("192.0.2.1")


def test_where_others_are_let_in_addresses_count_and_strangers_names_do_not():
    """Told to listen on all addresses, it knows itself by any address, not by a name that anybody could make up."""
    door = Door(socket.socket(), "0.0.0.0", 80, "t")  # noqa: S104
    assert [door.lets_in(host) for host in ("192.168.1.7:80", "[::1]:80", "evil.example:80")] == [True, True, False]
    door.socket.close()
