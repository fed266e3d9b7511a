"""`backpass trace`: what it shows of a run, in which forms, and what it says where it cannot."""

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import PENGUINS, command, status_of, write

import backpass as bp
from backpass.ledger.choice import most_moved

SMALL = ["--hidden", "6,4", "--epochs", "3", "--seed", "1"]
PAGE_DOM = Path(__file__).parents[1] / "ledger" / "page_dom.js"


@pytest.fixture(scope="session")
def birds(tmp_path_factory):
    """The folder of a run of four small networks on penguins."""
    folder = tmp_path_factory.mktemp("runs") / "birds"
    assert status_of(["train", PENGUINS, "--target", "species", "--quiet", "--out", folder, *SMALL]) == 0
    return folder


@pytest.fixture(scope="session")
def places(birds):
    """A row that was trained on, a step whose batch it is in, one it is not in, and a row that was held out."""
    opened = bp.open_run(birds)
    division = opened.plan.prepared.division
    found = opened.trace(division.train.row_number(0))
    other = next(step for step in range(1, opened.steps) if step != found.moment.step)
    return found.row, found.moment.step, other, division.test.row_number(0)


# What it shows


def test_the_whole_story_of_a_row_fits_80_columns_and_is_plain_when_piped(run, birds, places):
    """Inputs by name with their cells, forward, error, backward, weights, and that it adds up; no colours."""
    row, step, _, _ = places
    ran = run("trace", birds, "--row", row, "--full")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0] == f"step {step}, row {row} of penguins.csv"
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in ran.out
    for words in (
        "1  The inputs", "bill_length_mm", "2  Forward", "z = Σ weight · input + bias", "a = max(z, 0)", "and 11 more",
        "3  The error function: CrossEntropy", "output[Gentoo]", "the mean of 4 members", "4  Backward",
        "error = Σ weight · δ", "error = 1/4 · (p - desired)", "5  The weights", "v = β2 · v + (1 - β2) · g²",
        "rate, the learning rate of AdamW", "new = old value + change", "the ledger adds up",
        "new weights are those of the run",
    ):  # fmt: skip
        assert words in ran.out, words


def test_it_is_short_unless_more_is_asked_for(run, birds, places):
    """One screen of 80 columns: the row, the answer, the error, where it went, one weight and why it moved."""
    row, step, *_ = places
    ran = run("trace", birds, "--row", row)
    lines = ran.out.splitlines()
    assert lines[0] == f"step {step}, row {row} of penguins.csv"
    assert len(lines) < 33
    assert max(map(len, lines)) <= 80
    told = " ".join(ran.out.split("\n   "))
    for words in (
        *("1  The row", "2  Forward", "3  The error function", "4  Backward", "5  The weights", "hidden_2: 4 nodes"),
        *("the ledger adds up", "more:  --full", "--html FILE", "1/16 of it goes into that of the batch"),
    ):
        assert words in told
    assert "…" not in ran.out
    error = json.loads(run("trace", birds, "--row", row, "--json").out)["error"]
    means = f"E of member 1 is {error['member_loss']:.5g}; E of the row, the mean of the 4 members, is"
    assert f"{means} {error['row_loss']:.5g}" in " ".join(ran.out.split())
    assert re.search(r"δ = 1/4 · \(p - desired\)\s+= 0.25 · \(", ran.out)
    assert (error["part_of_row"], error["row_loss_is"]) == (0.25, "the mean of 4 members")
    assert re.search(r"This (weight|bias) went from \S+ to \S+ because ", " ".join(ran.out.split()).replace(",", ""))
    assert "held out in fold" not in ran.out
    assert len(run("trace", birds, "--row", row, "--terms", 2).out.splitlines()) > 60


def test_the_row_that_is_told_has_a_share_in_what_moved(run, birds, places):
    """Where no row is named it is that of the batch with the largest share in the change of the weight."""
    found = bp.open_run(birds).trace(step=places[1])
    parameter, index = most_moved(found)
    shares = parameter.movers(index).products[: len(found.moment.rows)] * np.sign(parameter.made[index])
    assert shares[found.place] == shares.max() > 0
    ran = run("trace", birds, "--step", places[1], "--weight", parameter.named(index))
    assert ran.out.startswith(f"step {places[1]}, row {found.row} of ")


def test_on_a_terminal_it_has_colours(birds, places):
    """Titles stand out where somebody looks; the words are the same."""
    main, side = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        command("trace", birds, "--row", places[0]), stdout=side, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(side)
        shown = b""
        while True:
            try:
                part = os.read(main, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(main)
    assert process.returncode == 0
    assert b"\x1b[1m1  The row" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")
    assert "the ledger adds up" in plain


def test_the_numbers_are_those_of_python(run, birds, places):
    """The JSON object has what `open_run(...).trace` has."""
    row, step, _, _ = places
    told = json.loads(run("trace", birds, "--row", row, "--member", 2, "--json").out)
    found = bp.open_run(birds).trace(row, step, member=2)
    assert (told["step"], told["row"], told["member"], told["members"]) == (step, row, 2, 4)
    assert told == json.loads(json.dumps(found.to_json()))
    node = told["layers"][0]["nodes"][3]
    assert node["forward"][-1]["value"] == pytest.approx(found.layers[0].values[3])
    weights = {each["name"]: each for each in told["weights"]}
    assert weights["hidden_2.bias"]["after"] == pytest.approx(found.parameters["2.hidden_2.bias"].after.tolist())
    assert told["sums"]["ok"]
    weight, change = weights["hidden_2.weight"], found.parameters["2.hidden_2.weight"].change
    assert list(weight["state"]) == ["m before", "v before"]
    assert [each["symbol"] for each in weight["steps"]] == ["m", "v", "m̂", "v̂", "1/root", "adam", "change"]
    assert weight["steps"][0]["value"][5][3] == pytest.approx(change.steps[0].value[5][3])
    assert weight["constants"] == pytest.approx({"β1": 0.9, "β2": 0.999, "ε": 1e-8, "decay": change.constants["decay"]})
    products = [float(np.prod(each["factors"])) for each in weight["rate_terms"]["terms"]]
    assert sum(products) == pytest.approx(weight["rate"])


def test_every_number_as_csv_adds_up(run, birds, places):
    """In long form each sum has its terms before it; old value and change are the new value."""
    ran = run("trace", birds, "--row", places[0], "--csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert list(rows[0]) == ["step", "row", "phase", "layer", "node", "quantity", "value"]
    assert {each["phase"] for each in rows} == {"input", "forward", "error", "backward", "derivative", "change"}
    sums, terms = 0, 0.0
    for each in rows:
        if each["phase"] == "forward" and each["layer"] == "hidden_2":
            if each["quantity"].startswith("z: "):
                terms += float(each["value"])
            elif each["quantity"] == "z":
                assert float(each["value"]) == pytest.approx(terms, abs=1e-5)
                sums, terms = sums + 1, 0.0
    assert sums == 4
    moved = [each for each in rows if each["layer"] == "output.bias" and each["node"] == "output.bias[1]"]
    values = {each["quantity"]: float(each["value"]) for each in moved}
    entries = Counter((each["phase"], each["layer"], each["node"], each["quantity"]) for each in rows)
    assert entries.most_common(1)[0][1] == 1
    whole = {each["quantity"]: float(each["value"]) for each in rows if each["layer"] == "hidden_2.weight"}
    assert {"rate", "β1", "β2", "ε", "decay", "m before", "v before", "1/root"} <= set(whole)
    node = {each["quantity"]: float(each["value"]) for each in rows if each["node"] == "hidden_2[1]"}
    weight, value = (node[f"{name}, in z: hidden_1[4]"] for name in ("weight", "input"))
    assert weight * value == pytest.approx(node["z: hidden_1[4]"])
    assert values["old value"] + values["change"] == pytest.approx(values["new value"], rel=1e-6)


def test_one_node_with_all_its_terms(run, birds, places):
    """Forward and backward of a node that is named, as text, as JSON and as CSV."""
    arguments = "trace", birds, "--row", places[0], "--node", "hidden_2[1]"
    ran = run(*arguments)
    assert "hidden_2[1], of hidden_2: Dense(4), ReLU, Dropout(0.2)" in ran.out
    assert all(f"hidden_1[{k}]" in ran.out for k in range(6))
    told = json.loads(run(*arguments, "--json").out)
    assert [each["symbol"] for each in told["forward"]] == ["z", "a", "kept"]
    rows = run(*arguments, "--csv").rows
    assert {row[2] for row in rows[1:]} == {"forward", "backward"}


def test_why_a_weight_moved(run, birds, places):
    """The rows of the batch and what else moved it, the largest first; they add up to the change."""
    arguments = "trace", birds, "--step", places[1], "--weight", "bill_length_mm -> hidden_1[3]"
    ran = run(*arguments)
    assert ran.status == 0
    assert "Why it moved" in ran.out
    told = json.loads(run(*arguments, "--json").out)
    shares = [each["value"] for each in told["why"]["terms"]]
    assert sum(shares) == pytest.approx(told["why"]["value"], rel=1e-5)
    labels = [each["of"] for each in told["why"]["terms"]]
    assert sum(label.startswith("row ") for label in labels) == 16
    assert {"weight decay", "mean of earlier steps, m"} <= set(labels)
    assert [float(row[-1]) for row in run(*arguments, "--csv").rows[1:]] == pytest.approx(shares)


def test_why_a_prediction(run, birds, places):
    """Of any row, also of one that was held out: the columns' shares, whose sum is checked; the answer is predict's."""
    held_out = places[3]
    ran = run("trace", birds, "--row", held_out, "--why")
    assert ran.status == 0
    assert "integrated gradients" in ran.out
    assert re.search(r"the sum is off by \S+ \(\S+ points", ran.out)
    told = json.loads(run("trace", birds, "--row", held_out, "--why", "--json").out)
    assert told["sum"] == pytest.approx(told["value"] - told["baseline"], abs=1e-3)
    opened = bp.open_run(birds)
    table = opened.plan.prepared.table.take([held_out - 1])
    assert list(told["answers"].values()) == pytest.approx(
        opened.model.predict_table(table).probabilities[0].tolist(), abs=1e-5
    )
    other = json.loads(run("trace", birds, "--row", held_out, "--why", "--output", "Gentoo", "--json").out)
    assert other["output"] == "Gentoo"
    unknown = run("trace", birds, "--row", 4, "--why")
    assert unknown.out.count("(missing)") == 5
    assert told["step"] is None
    assert run("trace", birds, "--row", held_out, "--why", "--step", 5).out.startswith(
        f"row {held_out} before step 5: "
    )
    rows = run("trace", birds, "--row", held_out, "--why", "--step", 5, "--csv").rows
    assert sorted(row[4] for row in rows[1:]) == sorted(opened.plan.prepared.tabular.inputs.columns)


def test_a_run_that_was_killed_can_be_looked_into(run, birds, places, tmp_path):
    """It has checkpoints and no model: its steps are told, and the newest weights explained."""
    shutil.copytree(birds, tmp_path / "killed")
    (tmp_path / "killed" / "model.safetensors").unlink()
    assert run("trace", "killed", "--row", places[0]).status == 0
    assert run("trace", "killed", "--row", places[0], "--why").status == 0


def test_a_table_that_was_moved_is_named(run, birds, places, tmp_path):
    """TABLE says where it is now."""
    shutil.copytree(birds, tmp_path / "moved")
    shutil.copy(PENGUINS, tmp_path / "here.csv")
    about = json.loads((tmp_path / "moved" / "run.json").read_text())
    about["asked"]["table"] = about["paths"]["table"] = "gone.csv"
    (tmp_path / "moved" / "run.json").write_text(json.dumps(about))
    assert "gone.csv: no such file" in run("trace", "moved", "--row", places[0]).err
    assert run("trace", "moved", "here.csv", "--row", places[0]).status == 0


# The page


def test_the_page_needs_nothing_but_itself(run, birds, places, tmp_path):
    """One file; no address in it but the name of SVG; a policy that forbids every connection; keys for all it does."""
    ran = run("trace", birds, "--row", places[0], "--html", "row.html")
    assert (ran.status, ran.out) == (0, "")
    page = (tmp_path / "row.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page
    assert not re.search(r"<(?:link|img|iframe)|\bsrc=|@import|\bfetch\(|innerHTML", page)
    assert "color-scheme: light dark" in page
    told = json.loads(page.split('id="ledger">', 1)[1].split("</script>", 1)[0])
    assert told["row"] == places[0]


@pytest.mark.skipif(shutil.which("node") is None, reason="node, that runs the page's script, is not installed")
def test_the_page_steps_through_everything(run, birds, places, tmp_path):
    """Arrow keys go from the inputs to the last weight and each stop has its formula; digits go to the five parts."""
    run("trace", birds, "--row", places[0], "--html", "row.html")
    ran = subprocess.run(
        [shutil.which("node"), PAGE_DOM, tmp_path / "row.html"], capture_output=True, text=True, check=True
    )
    told = json.loads(ran.stdout)
    nodes = 6 + 4 + 3
    assert [sum(each.startswith(phase) for each in told["told"]) for phase in ("Forward", "Backward")] == [nodes, nodes]
    assert told["phases"] == ["Inputs", "Forward", "Error", "Backward", "Weights"]
    assert told["circles"] == 14 + nodes  # and no input that says which members hold the row out
    assert told["verdict"].startswith("The ledger adds up")
    assert all("=" in each for each in told["told"][1:])


def test_a_name_cannot_end_the_pages_script(run, tmp_path):
    """A column called </script> stands in the page as data, and on the terminal without what steers it."""
    rows = [[k / 7, "ab"[k % 2], "yn"[k % 3 == 0]] for k in range(60)]
    table = write(tmp_path / "t.csv", ["</script><b>\x1b[31m", "kind", "y"], rows)
    run("train", table, "--target", "y", "--quiet", "--out", "r", "--effort", "fast", "--epochs", "2", "--hidden", "3")
    run("trace", "r", "--html", "row.html")
    page = (tmp_path / "row.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2
    assert "\\u003c/script>" in page
    shown = run("trace", "r")
    assert shown.status == 0
    assert "\x1b" not in shown.out


# Errors


def test_what_cannot_be_shown_is_one_line(run, birds, places):
    """The line says what was found and what there is instead; exit status 2."""
    row, _, other, held_out = places
    last = bp.open_run(birds).steps
    wrong = {
        ("--row", 0): "penguins.csv has the rows 1 to 344, found --row 0",
        ("--row", 345): "penguins.csv has the rows 1 to 344, found --row 345",
        ("--row", held_out): f"row {held_out} was held out to test: it is in no step (--why explains",
        ("--row", row, "--step", other): f"row {row} is not in the batch of step {other}: it is in that of --step ",
        ("--step", 0): "step is 0, expected a whole number of 1 or more",
        ("--step", last + 1): f"step {last + 1} was not made, or not saved yet",
        ("--member", 5): "--member is 5, expected from 1 to 4",
        ("--weight", "hiden_1.weight[0,0]"): "no weights are called 'hiden_1.weight'. Did you mean",
        ("--weight", "hidden_1.weight[99,0]"): "the last of hidden_1.weight is hidden_1.weight[13,5]",
        ("--node", "hidden_1[6]"): "no node is called 'hidden_1[6]'. hidden_1 has hidden_1[0] to hidden_1[5].",
        ("--why",): "--why explains the prediction of a row: say which one with --row",
        ("--why", "--row", 400): "penguins.csv has the rows 1 to 344, found --row 400",
        ("--why", "--row", 1, "--output", "Gento"): "no output is called 'Gento'. Did you mean \"Gentoo\"?",
        ("--output", "Gentoo"): "--output says of which output --why tells: give --why, too",
        ("--csv", "--json"): "--csv and --json both take standard output: give one of them",
        ("--node", "a", "--weight", "b"): "--node and --weight: each shows something of its own: give one of them",
        ("--html", "no/such/folder/x.html"): "x.html: cannot be written",
    }
    for arguments, said in wrong.items():
        ran = run("trace", birds, *arguments)
        assert (ran.status, ran.out) == (2, ""), arguments
        assert said in ran.err, ran.err
        assert ran.err.startswith("backpass: ")
        assert ran.err.count("\n") == 1


def test_a_run_without_checkpoints_or_of_a_changed_table(run, birds, places, tmp_path):
    """One line that names the folder, or what of the table is another."""
    shutil.copytree(birds, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "checkpoints")
    ran = run("trace", "bare", "--row", places[0])
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "checkpoint" in ran.err
    (tmp_path / "birds.csv").write_text(Path(PENGUINS).read_text(encoding="utf-8").replace("39.1", "39.2", 1))
    ran = run("trace", birds, "birds.csv", "--row", places[0])
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "bill_length_mm" in ran.err
    ran = run("trace", tmp_path / "nothing", "--row", places[0])
    assert (ran.status, ran.err.count("\n")) == (2, 1)
