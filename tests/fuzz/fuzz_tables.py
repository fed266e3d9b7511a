"""Feeds damaged tables of every format to backpass.data: each must be read, or refused in one line.

    python tests/fuzz/fuzz_tables.py --cases 20000 --seed 0

Anything but success or a BackpassError of one line is a failure: it is printed, and its input is saved in the folder
given by --keep. The input of the case at work is in that folder too, as current.*, should the whole process fall.
With --reader tables are only read: many more cases a second.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import harness
import numpy as np
import polars as pl

from backpass.data import Table, TableEncoder, TargetEncoder, infer_schema, read_table, usable_rows
from backpass.errors import BackpassError

ROWS, GIGABYTES = 40, 1
INTERESTING = [
    b"\0", b'"', b'""', b"\n", b"\r\n", b"\r", b",", b";", b"\t", b"{", b"}", b"[", b"nan", b"inf", b"-inf",
    b"1e999", b"-", b"?", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"PAR1", b"ARROW1", b"\x1f\x8b", b"9" * 400,
    b"1" * 20, b"0001", b"1e-320", b"2020-02-30", b"31/12/9999", b"0000-01-01", b"25:61", b"null", b" ",
    b"\xc3\xa9", b"\xf0\x9f\x98\x80", b"\x80", b"'", b"%", b"$", b"1,234", b"1.7976931348623157e308",
    b"-1.7e308", b"yes", b"true", b"\\", b"\\u0000", b"\xe2\x80\xa8", b"\x0b", b"\x0c",
]  # fmt: skip


def frame() -> pl.DataFrame:
    """A small table with every kind of column."""
    draw = random.Random(7)
    return pl.DataFrame(
        {
            "id": [f"r{row}" for row in range(ROWS)],
            "age": [draw.randint(18, 90) if draw.random() > 0.1 else None for _ in range(ROWS)],
            "income": [round(draw.lognormvariate(10, 2), 2) for _ in range(ROWS)],
            "city": [draw.choice(["Rome", "Oslo", "Bonn, West", 'the "Hague"', "é"]) for _ in range(ROWS)],
            "member": [draw.random() > 0.5 for _ in range(ROWS)],
            "day": [f"20{draw.randint(10, 24)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}" for _ in range(ROWS)],
            "clock": [f"{draw.randint(0, 23):02}:{draw.randint(0, 59):02}" for _ in range(ROWS)],
            "price": [f"{draw.randint(1, 9)},{draw.randint(100, 999)}.50" for _ in range(ROWS)],
            "amount": [draw.gauss(0, 1) for _ in range(ROWS)],
            "label": [draw.choice(["yes", "no"]) for _ in range(ROWS)],
        }
    )


def seeds() -> dict[str, bytes]:
    """One valid file of each format."""
    table = frame()
    row = pl.int_range(pl.len())
    typed = table.with_columns(
        pl.col("day").str.to_date(),
        pl.col("clock").str.to_time("%H:%M"),
        pl.col("city").cast(pl.Categorical),
        pl.col("amount").cast(pl.Decimal(20, 3)).alias("exact"),
        pl.duration(hours=row).alias("span"),
        (pl.datetime(2020, 1, 1, time_zone="Europe/Rome") + pl.duration(hours=row * row)).alias("moment"),
        (row % 7).cast(pl.Int8).alias("small"),
    )
    nested = typed.with_columns(
        pl.concat_list("age", "amount").alias("list"),
        pl.struct("day", "label").alias("pair"),
        pl.col("id").cast(pl.Binary).alias("bytes"),
    )
    simple = table.select("id", "age", "income", "member", "day", "label")
    text = table.write_csv().encode()
    return {
        "quoted.csv": text,
        "plain.csv": simple.write_csv().encode(),
        "semicolon.csv": table.write_csv(separator=";").encode(),
        "tabs.tsv": table.write_csv(separator="\t").encode(),
        "bars.txt": simple.write_csv(separator="|").encode(),
        "spaces.txt": simple.drop_nulls().write_csv(separator=" ").encode(),
        "padded.csv": text.replace(b",", b", "),
        "crlf.csv": text.replace(b"\n", b"\r\n"),
        "wide.csv": text.decode().encode("utf-16"),
        "western.csv": text.decode().encode("latin-1"),
        "bom.csv": b"\xef\xbb\xbf" + text,
        "packed.csv.gz": gzip.compress(text, 1),
        "lines.jsonl": table.write_ndjson().encode(),
        "packed.jsonl.gz": gzip.compress(table.write_ndjson().encode(), 1),
        "typed.parquet": written(typed.write_parquet),
        "plain.parquet": written(lambda file: typed.write_parquet(file, compression="uncompressed")),
        "typed.arrow": written(typed.write_ipc),
        "nested.parquet": written(nested.write_parquet),
        "nested.arrow": written(nested.write_ipc),
        "packed.arrow": written(lambda file: typed.write_ipc(file, compression="zstd")),
        "stream.arrow": written(typed.write_ipc_stream),
    }


def written(write) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def mutated(data: bytes, draw: random.Random, *, typed: bool) -> bytes:
    """The bytes after one to four small accidents."""
    for _ in range(draw.choice([1, 1, 1, 2, 3, 4])):
        data = draw.choice(TYPED_ACCIDENTS if typed else ACCIDENTS)(data, draw)
    return data


def flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 5)):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def cut_off(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randint(0, len(data))]


def inserted(data: bytes, draw: random.Random) -> bytes:
    place = draw.randint(0, len(data))
    return data[:place] + draw.choice(INTERESTING) + data[place:]


def overwritten(data: bytes, draw: random.Random) -> bytes:
    place, strange = draw.randint(0, len(data)), draw.choice(INTERESTING)
    return data[:place] + strange + data[place + len(strange) :]


def line_doubled(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    place = draw.randrange(len(lines))
    return b"\n".join([*lines[:place], lines[place], *lines[place:]])


def line_dropped(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    del lines[draw.randrange(len(lines))]
    return b"\n".join(lines)


def piece_dropped(data: bytes, draw: random.Random) -> bytes:
    first, last = sorted(draw.randint(0, len(data)) for _ in range(2))
    return data[:first] + data[min(last, first + 40) :]


def piece_doubled(data: bytes, draw: random.Random) -> bytes:
    first, last = sorted(draw.randint(0, len(data)) for _ in range(2))
    return data[:last] + data[first:]


def cell_replaced(data: bytes, draw: random.Random) -> bytes:
    cells = list(re.finditer(rb"[\w.-]+", data))
    if not cells:
        return data
    cell = draw.choice(cells)
    return data[: cell.start()] + draw.choice(INTERESTING) + data[cell.end() :]


# Whole cells are changed most often: such tables are read, and get as far as the encoders.
ACCIDENTS = (*[cell_replaced] * 6, flipped, cut_off, inserted, line_doubled, line_dropped, piece_dropped, piece_doubled)
# What moves the bytes of a typed file breaks its offsets, and is refused for that alone.
TYPED_ACCIDENTS = (*[flipped, overwritten] * 4, cut_off, inserted, piece_dropped, piece_doubled)


def case(number: int, seed: int, files: dict[str, bytes], share: float = 0.1) -> tuple[str, bytes, random.Random]:
    """A file's name and content, and what else of the case is drawn; all follows from its number and the seed.

    The share of typed files is small: the process for each takes several times as long as reading a text.
    """
    draw = random.Random(f"{seed}/{number}")
    typed = draw.random() < share
    name = draw.choice(sorted(file for file in files if file.endswith(("parquet", "arrow")) == typed))
    return name, mutated(files[name], draw, typed=typed), draw


def saved(data: bytes, name: str, folder: Path) -> Path:
    """The file of the case at work, which has the endings of `name`."""
    path = folder / f"current.{name.partition('.')[2]}"
    path.write_bytes(data)
    return path


def train(table: Table, target: str) -> tuple[TableEncoder, TargetEncoder]:
    schema = infer_schema(table, [target])
    used = usable_rows(table, schema)
    encoder, targets = TableEncoder.fit(used, schema), TargetEncoder.fit(used, schema)
    predict(encoder, used)
    targets.encode(used)
    return TableEncoder.from_json(json.loads(json.dumps(encoder.to_json()))), targets


def predict(encoder: TableEncoder, table: Table) -> None:
    block = encoder.encode(table)["numbers"]
    assert np.isfinite(block).all(), "the block is not finite"


def refusal(error: BackpassError) -> str:
    assert "\n" not in str(error), f"not one line: {error!r}"
    return type(error).__name__


def run_case(path: Path, draw: random.Random, encoder: TableEncoder, *, reader: bool) -> str:
    """All that training on the table, and predicting for it, would do; what came of it, or the kind of the error."""
    try:
        table = read_table(path)
        if reader:
            return "read"
        if draw.random() < 0.5:
            predict(encoder, table)
            return "predicted"
        train(table, draw.choice(["label", "amount", "city", draw.choice(table.columns)]))
    except BackpassError as error:
        return refusal(error)
    return "trained"


# Typed files, each tried in a process of its own


SERVER = """
import io, json, os, signal, sys
import polars

while line := sys.stdin.buffer.readline():
    code, arguments, size = json.loads(line)
    data = sys.stdin.buffer.read(size)
    told, tells = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(60)
        os.dup2(tells, 1)
        sys.argv, sys.stdin = ["-c", *arguments], io.TextIOWrapper(io.BytesIO(data))
        end = 0
        try:
            exec(code, {"__name__": "__main__"})
        except SystemExit as error:
            end = error.code
        except BaseException:
            end = 1
        sys.stdout.flush()
        os._exit(end)
    os.close(tells)
    with os.fdopen(told, "rb") as file:
        output = file.read()
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stdout.write(json.dumps([end, output.decode()]) + chr(10))
    sys.stdout.flush()
"""


@contextmanager
def trials_forked() -> Iterator[None]:
    """While this lasts, each trial's process is a fork of one that has loaded polars, which is what takes its time."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    quiet = os.environ | {"POLARS_ALLOW_FORKING_THREAD": "1"}
    with subprocess.Popen([sys.executable, "-P", "-c", SERVER], env=quiet, **pipes) as server:

        def run(command: list[str], *, input: bytes, **_: object) -> subprocess.CompletedProcess[bytes]:  # noqa: A002
            *_, code, reader, free = command
            server.stdin.write(json.dumps([code, [reader, free], len(input)]).encode() + b"\n" + input)
            server.stdin.flush()
            end, output = json.loads(server.stdout.readline())
            assert end != -signal.SIGALRM, "a trial has not ended after a minute"
            return subprocess.CompletedProcess(command, end, output.encode())

        subprocess.run, usual = run, subprocess.run
        try:
            yield
        finally:
            subprocess.run = usual


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="store_true", help="read the tables, and leave it at that")
    parser.add_argument("--typed", type=float, default=0.1, help="the share of Parquet and Arrow files")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_tables")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    files, encoders = seeds(), {}
    for name, data in files.items():
        encoders[name], _ = train(read_table(saved(data, name, options.keep)), "label")

    def attempt(number: int) -> str:
        name, data, draw = case(number, options.seed, files, options.typed)
        return run_case(saved(data, name, options.keep), draw, encoders[name], reader=options.reader)

    def keep(number: int) -> Path:
        name, data, _ = case(number, options.seed, files, options.typed)
        return saved(data, name, options.keep).rename(options.keep / f"failure-{options.seed}-{number}-{name}")

    with trials_forked():
        return harness.run(options.cases, attempt, keep, gigabytes=GIGABYTES)


if __name__ == "__main__":
    sys.exit(main())
