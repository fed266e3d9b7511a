"""Makes the golden files of this version: `python tests/golden/make.py`. See README.md; no file is ever made again."""

import json
from pathlib import Path

import numpy as np

import backpass as bp
from backpass import losses, nn
from backpass.forward import map_structure
from backpass.model.file import FORMAT
from backpass.recipes import plan
from backpass.recipes.run import FORMAT as RUN_FORMAT

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "data"
STEP = 9  # of the run, that is made again
TINY = {"hidden": (4,), "epochs": 5}


def of_table(folder, name, table, target, rows, **options):
    """A model of a table, with some of its rows and the answers for them."""
    model = plan(EXAMPLES / table, target, effort="fast", recipe=TINY, **options).fit().model
    header, *lines = (EXAMPLES / table).read_text().splitlines()
    inputs = folder / f"{name}.csv"
    inputs.write_text("".join(f"{line}\n" for line in [header, *(lines[row] for row in rows)]))
    write(folder, name, model, said(model.predict_table(inputs)))


def said(answers):
    """The answers, those of each head where there are several."""
    if answers.parts:
        return {"parts": [said(part) for part in answers.parts]}
    content = {"values": answers.values.tolist(), "classes": list(answers.classes)}
    if answers.probabilities is not None:
        content["probabilities"] = answers.probabilities.tolist()
    if answers.lower is not None:
        content |= {"lower": answers.lower.tolist(), "upper": answers.upper.tolist()}
    return content


def of_arrays(folder):
    """A network of two inputs, of layers of several kinds, with weights that were drawn and never trained."""
    rng = np.random.default_rng(1)
    inputs = {"numbers": rng.normal(size=(6, 3)), "level": rng.integers(0, 5, 6)}
    network = nn.Sequential(
        parts=nn.Concatenate(numbers=nn.Identity(), level=nn.Embedding(5, 2)),
        first=nn.Dense(6, initializer=nn.He()),
        gelu=nn.GELU(),
        drop=nn.Dropout(0.25),
        around=nn.Residual(nn.Dense(6), nn.Tanh()),
        last=nn.Dense(3),
    )
    trainer = bp.Trainer(network, losses.CrossEntropy(label_smoothing=0.1), seed=2, precision="float64").build(inputs)
    plain = {key: value.tolist() for key, value in inputs.items()}
    write(folder, "arrays", trainer.model(), {"inputs": plain, "values": trainer.predict(inputs).tolist()})


def of_run(folder):
    """A run with checkpoints, and what one of its steps was. Of the machine only what bits depend on is kept."""
    recipe = TINY | {"batch_size": 16, "members": 2}
    outcome = bp.train(EXAMPLES / "iris.csv", "species", recipe=recipe, out=folder / "run")
    about = json.loads((folder / "run/run.json").read_text())
    about["asked"]["table"] = "iris.csv"
    about.pop("paths", None)
    about["outcome"]["run"] = "run"
    about["machine"] = {"vector_bits": about["machine"]["vector_bits"]}
    (folder / "run/run.json").write_text(json.dumps(about, indent=2) + "\n")
    step = bp.open_run(folder / "run", table=str(EXAMPLES / "iris.csv")).replay(STEP)
    weights = map_structure(np.ndarray.tolist, step.after)
    content = {"steps": outcome.steps, "step": STEP, "loss": step.loss, "rows": step.rows.tolist(), "after": weights}
    (folder / "run.json").write_text(json.dumps(content) + "\n")


def write(folder, name, model, content):
    model.save(folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(content | {"weights": model.weights}, indent=1) + "\n")


def of_models(folder):
    of_table(folder, "classification", "iris.csv", "species", [0, 50, 60, 100, 149])
    of_table(
        folder,
        "regression",
        "penguins.csv",
        "body_mass_g",
        [0, 3, 100, 200, 300],
        columns={"flipper_length_mm": "category"},
    )
    weights = {"FEMALE": 2, "MALE": 1}
    of_table(
        folder, "threshold", "penguins.csv", "sex", [0, 4, 200], threshold="balanced_accuracy", class_weights=weights
    )
    two, ages = "body_mass_g,bill_depth_mm", "abalone.csv"
    of_table(folder, "intervals", "penguins.csv", two, [0, 4, 200], target_kind="positive", interval=0.8)
    several, options = "species,body_mass_g,sex", {"interval": 0.8, "threshold": "f1", "class_weights": weights}
    of_table(folder, "heads", "penguins.csv", several, [0, 4, 200], target_kind="positive", **options)
    of_table(folder, "count", ages, "Rings", [0, 3, 100], target_kind="count", interval=0.9, validation=0.4)
    of_arrays(folder)


if __name__ == "__main__":
    made = ((f"format-{FORMAT}", of_models), (f"run-format-{RUN_FORMAT}", of_run))
    for name, make in made:
        folder = HERE / f"backpass-{bp.__version__}-{name}"
        if folder.exists():  # and stays as it is: a golden file is never made again
            continue
        folder.mkdir()
        make(folder)
        print(folder, {each.name: each.stat().st_size for each in sorted(folder.iterdir())})  # noqa: T201 - a script
