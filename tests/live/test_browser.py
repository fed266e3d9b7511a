"""The page in a real browser: every control is used, in both themes and at the width of a phone."""

import threading
from contextlib import suppress

import pytest
from live_helpers import browser, page_of, trained

from backpass.live.playground import Playground
from backpass.live.server import Page, Watched, serving
from backpass.training import Steering

CSV = "height,width,kind\n" + "".join(
    f"{k % 7 + (k % 2) * 5 + k / 200},{k % 5 + (k % 3)},{'tall' if k % 2 else 'low'}\n" for k in range(120)
)


def shows(page, condition):
    """Waits until a condition holds in the page; its rules forbid that the page itself evaluates one."""
    from playwright.sync_api import Error as PageError

    for _ in range(400):
        with suppress(PageError):  # what it looks at may not be there yet
            if page.evaluate(condition):
                return
        page.wait_for_timeout(50)
    raise AssertionError(f"the page never came to: {condition}\n{page.inner_text('body')}")


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


@pytest.fixture
def opened(chromium):
    """Opens a page; at its end nothing may have gone wrong in it."""
    troubles, contexts = [], []

    def to(address, *, width=1280, theme="light"):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda told: troubles.append(told.text) if told.type == "error" else None)
        page.on(
            "request", lambda asked: troubles.append(asked.url) if not asked.url.startswith(ours(address)) else None
        )
        page.goto(address)
        return page

    def ours(address):
        return (address.split("#")[0].rsplit("/", 2)[0], "data:", "blob:")

    yield to
    for context in contexts:
        context.close()
    expected = ("422", "ERR_CONNECTION_REFUSED")  # what is refused in a line, and a page whose server has ended
    assert [each for each in troubles if not any(word in each for word in expected)] == []


def test_a_run_is_looked_into(opened, finished_run, tmp_path):
    """Curves, zoom and scale; the picture, its views, rows and steps, by mouse and keys; layers; results."""
    other = trained(tmp_path / "other", epochs=3, hidden=[3])
    with page_of(finished_run, other) as address:
        page = opened(address)
        page.wait_for_selector("figure .uplot")
        assert "finished, 6 epochs" in page.inner_text("#state")
        assert "iris loss" in page.inner_text("#part-curves")
        assert "other loss" in page.inner_text("#part-curves")
        page.click("text=log scale >> nth=0")
        assert page.get_attribute("text=log scale >> nth=0", "aria-pressed") == "true"
        page.focus(".plot >> nth=0")
        page.keyboard.press("+")
        page.keyboard.press("0")

        page.wait_for_selector("figure:has-text('Gradient norm') .uplot")

        page.keyboard.press("2")
        page.wait_for_selector("#story h2")
        assert page.input_value("#at-step") == "42"
        assert "How one weight changed" in page.inner_text("#story")
        page.fill("#at-step", "9")
        page.keyboard.press("Enter")
        shows(page, "document.querySelector('#story').innerText.includes('In step 9,')")
        page.check("input[value=back]")
        row = page.locator("#of-row option").nth(3).get_attribute("value")
        page.select_option("#of-row", row)
        shows(page, f"document.querySelector('#intro').innerText.includes('Row {row}:')")
        page.click('[aria-label^="hidden_1[2]:"]')
        shows(page, "document.querySelector('#story').innerText.includes('Backward: its error')")
        page.check("input[value=forward]")
        page.click("#story table button >> nth=0")
        shows(page, "document.querySelector('#story').innerText.includes('How one weight changed')")
        page.select_option("#of-row", "mean")
        page.focus('[data-node="0 0"]')
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        shows(page, "document.querySelector('#story').innerText.includes('over the rows of the batch')")
        page.click("#steps >> text=First")
        shows(page, "document.querySelector('#at-step').value === '1'")
        page.click("[aria-label='One step on']")
        shows(page, "document.querySelector('#at-step').value === '2'")

        page.click("#tab-layers")
        page.click("#look-at-layers")
        page.wait_for_selector("text=Dead and saturated nodes")
        assert page.locator("section:has(> h2:text-is('hidden_1')) .small figure").count() == 4
        page.click("#tab-results")
        page.wait_for_selector("text=Confusion matrix")
        page.click("#part-results table button >> nth=0")
        shows(page, "document.querySelector('#part-network').innerText.includes('as if one more step')")
        page.select_option("#run", "1")
        shows(page, "document.querySelector('h1').innerText === 'other'")


def test_it_says_what_can_be_done_and_what_is_looked_at(opened, finished_run):
    """Keys that do something here; the row that has most to tell; the number of the link that is chosen on top."""
    with page_of(finished_run) as address:
        page = opened(address)
        page.wait_for_selector("figure .uplot")
        assert page.inner_text("#keys") == "Keys: 1 to 4 the parts of the page."
        page.keyboard.press("2")
        page.wait_for_selector("#story h2")
        assert "from node to node" in page.inner_text("#keys")
        assert "the one with the largest share" in page.inner_text("#intro")
        assert page.evaluate("document.querySelector('.network').lastElementChild.matches('.label')")


def test_a_first_reader_finds_how_one_weight_changed(opened, finished_run):
    """One press on what says so: what it was and is, the derivative, the batch, the optimizer, the sum; in words."""
    with page_of(finished_run) as address:
        page = opened(address)
        page.click("text=See how one weight changed in one step")
        page.wait_for_selector("#story ol")
        told = page.inner_text("#story")
    for each in (
        "This weight went from",
        ", because ",
        "∂E/∂w = δ · input",
        "mean over its rows",
        "with a learning rate",
        "new = old value + change",
        "Why it moved",
    ):
        assert each in told


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light"), (390, "dark")])
def test_it_fits_a_phone_and_both_themes(opened, finished_run, width, theme):
    """Nothing stands beyond the edge, and paper and ink are far apart."""
    with page_of(finished_run) as address:
        page = opened(address, width=width, theme=theme)
        for tab in ("curves", "network", "results"):
            page.click(f"#tab-{tab}")
            page.wait_for_selector(f"#part-{tab} section")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = (
            "getComputedStyle(document.body)['%s'].match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
        )
        ink, paper = page.evaluate(colours % "color"), page.evaluate(colours % "backgroundColor")
        assert (ink > paper) == (theme == "dark")
        assert abs(ink - paper) > 450
        page.select_option("#theme", "light")
        assert page.evaluate("document.documentElement.dataset.theme") == "light"


HIDDEN = """[...document.querySelectorAll('.network .label rect')].map((label) => {
  const a = label.getBoundingClientRect();
  return [...document.querySelectorAll('.network .node circle, .network .node text')].reduce((sum, each) => {
    const b = each.getBoundingClientRect();
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    return sum + Math.max(0, wide) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  }, 0);
})"""


def test_on_a_phone_the_number_of_a_link_lies_over_no_node(opened, finished_run):
    """Neither over its circle nor over what stands beside it, whatever is chosen."""
    with page_of(finished_run) as address:
        page = opened(address, width=390)
        page.wait_for_selector("figure .uplot")
        page.keyboard.press("2")
        page.wait_for_selector("#story h2")
        page.check("input[value=back]")
        counts = set()
        for node in ("0 2", "1 0", "1 1", "1 2", "2 0"):
            page.locator(f'[data-node="{node}"] circle').click()
            page.wait_for_selector(f'[data-node="{node}"].here')
            found = page.evaluate(HIDDEN)
            counts.add(len(found))
            assert max(found, default=0) < 40, node
        assert max(counts) > 3


def test_numbers_of_the_worst_rows_stand_right_aligned_under_their_heads(opened, finished_run):
    """So that their digits stand below each other; labels stand left."""
    with page_of(finished_run) as address:
        page = opened(f"{address}#tab=results")
        page.wait_for_selector("text=The worst rows")
        table = page.locator("section:has(> h2:text-is('The worst rows')) table")
        heads, cells = table.locator("th"), table.locator("tr").nth(1).locator("td")
        aligned = "each => getComputedStyle(each).textAlign"
        assert [heads.nth(k).evaluate(aligned) for k in range(4)] == ["left", "left", "left", "right"]
        assert [cells.nth(k).evaluate(aligned) for k in range(4)] == ["left", "left", "left", "right"]


def test_a_training_is_watched_paused_stepped_and_stopped(opened, tmp_path):
    """By button and by key; a page that was away goes on where it was."""
    steering, folder = Steering(), tmp_path / "run"
    arguments = {"steering": steering, "epochs": 1_000_000, "patience": 1_000_000, "hidden": [4]}
    thread = threading.Thread(target=trained, args=(folder,), kwargs=arguments)
    thread.start()
    try:
        with serving(Page([Watched(folder, steering=steering)]), port=0) as door:
            page = opened(door.address)
            page.wait_for_selector("figure .uplot")
            page.click("#hold")
            page.wait_for_selector("#state.waiting")
            before = steering.step
            page.click("#step")
            shows(page, f"document.querySelector('#state').innerText.includes('{before + 1:,}')")
            page.keyboard.press("s")
            shows(page, f"document.querySelector('#state').innerText.includes('{before + 2:,}')")
            page.keyboard.press("p")
            page.wait_for_selector("#state.training")
            page.context.set_offline(True)
            page.context.set_offline(False)
            page.keyboard.press("p")
            page.wait_for_selector("#state.waiting")
            page.click("#go")
            page.wait_for_selector("#state.training")
            page.click("#stop")
            page.wait_for_selector("#state.interrupted")
    finally:
        steering.stop()
        thread.join()


def test_a_session_in_the_playground_with_an_own_table(opened):
    """Iris stands there; a table is dropped in, chosen from, trained on and stepped through; all is taken along."""
    ground = Playground()
    try:
        with serving(Page([], ground), port=0) as door:
            page = opened(door.address)
            shows(page, "document.querySelector('.drop').innerText.includes('iris.csv: 150 rows')")
            page.set_input_files("#file", {"name": "own.csv", "mimeType": "text/csv", "buffer": CSV.encode()})
            shows(page, "document.querySelector('.drop').innerText.includes('own.csv: 120 rows')")
            page.select_option("#target", "height")
            shows(page, "document.querySelector('#set-loss').innerText.includes('huber')")
            page.select_option("#target", "kind")
            shows(page, "document.querySelector('#set-loss').value === 'binary_cross_entropy'")
            settings = {"hidden": "6,4", "learning_rate": "0.05", "epochs": "20", "batch_size": "8", "seed": "3"}
            for name, value in {**settings, "weight_decay": "0.001", "dropout": "0.1"}.items():
                page.fill(f"#set-{name}", value)
            page.select_option("#set-activation", "sigmoid")
            page.select_option("#set-activation-2", "relu")
            page.select_option("#set-optimizer", "momentum")
            page.click("#train-step")
            shows(page, "document.querySelector('#state').innerText.includes('after step 1')")
            page.click("#go")
            page.wait_for_selector("#state.finished")
            page.select_option("#across", "width")
            page.select_option("#up", "height")
            shows(page, "(document.querySelector('#regions').dataset.told || '').includes('low')")
            with page.expect_download() as saved:
                page.click("#save-model")
            assert saved.value.suggested_filename == "model.safetensors"
            page.click("#script")
            page.wait_for_selector("pre.script")
            assert "'optimizer': 'momentum'" in page.inner_text("pre.script")
            assert "'activation': 'sigmoid,relu'" in page.inner_text("pre.script")
            page.click("#link")
            link = page.get_attribute("#settings-link", "href")
            page.click("#see-network")
            page.wait_for_selector("#story ol")
            again = opened(link)
            shows(again, "document.querySelector('#set-hidden').value === '6,4'")
            assert again.input_value("#set-optimizer") == "momentum"
            assert again.input_value("#set-activation-2") == "relu"
            page.click("#tab-build")
            page.set_input_files("#file", {"name": "no.csv", "mimeType": "text/csv", "buffer": b"\x00\x01"})
            page.wait_for_selector("[role=alert]:has-text('no')")
            page.fill("#set-hidden", "99999999")
            page.click("#train")
            page.wait_for_selector("[role=alert]:has-text('Hidden layers is 99999999, expected')")
    finally:
        ground.close()


def test_what_is_wrong_is_named_and_what_was_of_another_table_goes(opened, monkeypatch):
    """Settings by their names on the page, files by theirs; with a new table regions, header and network are empty.

    Nothing can be pressed before the table is known, and nothing is shown before there is something.
    """
    ground, known = Playground(), threading.Event()
    about = ground.about
    monkeypatch.setattr(ground, "about", lambda target=None: known.wait(20) and about(target))
    try:
        with serving(Page([], ground), port=0) as door:
            page = opened(door.address)
            assert [page.is_disabled(f"#{each}") for each in ("train", "train-step", "target", "set-hidden")] == [
                True
            ] * 4
            page.click("#tab-network")
            assert page.inner_text("#part-network").strip() == "Nothing is trained yet: press Train."
            page.click("#tab-layers")
            assert page.inner_text("#part-layers").strip() == "Nothing is trained yet: press Train."
            page.click("#tab-build")
            known.set()
            shows(page, "document.querySelector('.drop').innerText.includes('iris.csv: 150 rows')")
            assert page.is_disabled("#save-model")
            assert page.is_disabled("#script")
            page.click("#train-step")
            shows(page, "(document.querySelector('#regions').dataset.told || '').includes('setosa')")
            assert page.is_enabled("#save-model")
            page.fill("#set-hidden", "8,x")
            page.click("#train")
            page.wait_for_selector("[role=alert]:has-text('Hidden layers is 8,x, expected whole numbers')")
            assert page.get_attribute("#set-hidden", "aria-invalid") == "true"
            page.set_input_files("#file", {"name": "next.csv", "mimeType": "text/csv", "buffer": CSV.encode()})
            shows(page, "document.querySelector('#state').innerText === 'nothing trained yet'")
            assert page.inner_text("#about") == ""
            assert page.get_attribute("#regions", "data-told") is None
            assert page.is_disabled("#save-model")
            page.click("#tab-network")
            shows(page, "document.querySelector('#part-network').innerText.includes('Nothing is trained yet')")
            assert page.locator(".network *").count() == 0
            assert page.is_hidden("#steps")
            page.click("#tab-build")
            page.set_input_files("#file", {"name": "none.csv", "mimeType": "text/csv", "buffer": b""})
            page.wait_for_selector("[role=alert]:has-text('none.csv: is empty')")
            page.click("#story-preset")
            shows(page, "document.querySelector('.drop').innerText.includes('iris.csv: 150 rows')")
            story = opened(f"{door.address}#preset=story")
            for tab in (page, story):
                shows(tab, "document.querySelector('#set-activation').value === 'sigmoid'")
                assert [tab.input_value(f"#set-{name}") for name in ("hidden", "optimizer", "loss", "seed")] == [
                    *("3", "sgd", "brier", "282")
                ]
    finally:
        ground.close()
