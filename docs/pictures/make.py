"""The pictures of the live page for the README, made anew: python docs/pictures/make.py

It trains on iris, serves the page, and photographs it in Chromium, driven by playwright.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from backpass.live.server import Page, Watched, serving
from backpass.recipes.main_job import fit_into, plan
from backpass.recipes.run import folder_for

HERE = Path(__file__).parent
IRIS = HERE.parents[1] / "examples" / "data" / "iris.csv"
STEP = 9


def trained(folder: Path) -> Path:
    """A run on iris, with few hidden nodes."""
    recipe = {
        "hidden": [6],
        "activation": "tanh",
        "dropout": 0.0,
        "epochs": 300,
        "patience": 300,
        "learning_rate": 0.01,
    }
    with folder_for(folder, IRIS.name, "species"):
        fit_into(folder, plan(str(IRIS), "species", effort="fast", recipe=recipe), page=False)
    return folder


def photograph(tab: Tab, address: str) -> None:
    """The network in the back-propagation view, and the curves."""
    tab.set_viewport_size({"width": 1180, "height": 720})
    tab.goto(f"{address}#tab=network&view=back&step={STEP}")
    tab.wait_for_selector("#story ol")
    tab.wait_for_timeout(500)
    tab.screenshot(path=HERE / "page-network.png")
    tab.set_viewport_size({"width": 1100, "height": 1010})
    tab.click("#tab-curves")
    tab.wait_for_selector("figure:has-text('Gradient norm') .uplot")
    tab.wait_for_timeout(500)
    tab.screenshot(path=HERE / "page-curves.png")


def main() -> None:
    """Make both."""
    with (
        tempfile.TemporaryDirectory() as place,
        serving(Page([Watched(trained(Path(place) / "iris"))]), port=0) as door,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(color_scheme="light")
        photograph(tab, door.address)
        browser.close()


if __name__ == "__main__":
    main()
