"""A run to look at, a page that is served, and questions to it over HTTP."""

import json
import shutil
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from backpass.live.server import Page, Watched, serving
from backpass.recipes.main_job import fit_into, plan
from backpass.recipes.run import folder_for

IRIS = str(Path(__file__).parents[2] / "examples" / "data" / "iris.csv")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def trained(folder, *, steering=None, **recipe):
    """A run on iris in `folder`."""
    planned = plan(IRIS, "species", effort="fast", recipe=recipe)
    with folder_for(folder, "iris.csv", "species"):
        fit_into(folder, planned, page=False, steering=steering)
    return folder


@contextmanager
def page_of(*folders, playground=None):
    """The address of a page about these runs."""
    with serving(Page([Watched(folder) for folder in folders], playground), port=0) as door:
        yield door.address


def asked(address, *, data=None, **headers):
    """Status, headers and content of the answer."""
    request = urllib.request.Request(address, data=data, headers={k.replace("_", "-"): v for k, v in headers.items()})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def told(address, **options):
    """The content of an answer, from JSON."""
    return json.loads(asked(address, **options)[2])


def until(condition, seconds=20.0):
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.02)


@contextmanager
def browser():
    """Chromium without a window; the test is skipped, and says so, where there is none."""
    reason = "the page is tested in Chromium, driven by playwright"
    playwright = pytest.importorskip(
        "playwright.sync_api", reason=f"{reason}, which is not here: pip install '.[test]'"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip(f"{reason}: there is no chromium here (Debian has it as a package)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()
