"""Training on a table that does not fit: how much memory it takes, and how quick it is beside training in memory.

Makes Parquet files of 30 columns (27 numbers, 7 of them with missing values, and two categories), trains on the
small one in both ways, in turns, and on the large one from the disk alone. What is printed is the most memory that any
one process took (ru_maxrss, in which pages of mapped files count), and rows trained on a second of each epoch.

    python benchmarks/stream.py
    python benchmarks/stream.py --rows 1000000 --small 200000 --times 1
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from backpass.data import stored

AT_ONCE = 250_000
COMMAND = "from backpass.cli.main import main; main()"


def make(path: Path, rows: int) -> None:
    """Write the table, a part at a time."""
    import numpy as np
    import polars as pl

    cities, kinds = np.array([f"city {place}" for place in range(200)]), np.array(list("abcdefgh"))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for part in range(-(-rows // AT_ONCE)):
            count, draw = min(AT_ONCE, rows - part * AT_ONCE), np.random.default_rng(part)
            numbers = draw.normal(size=(27, count)).astype(np.float32)
            numbers[::3] = np.exp(numbers[::3])
            numbers[::4][draw.random((7, count)) < 0.05] = np.nan
            city, kind = draw.integers(0, len(cities), count), draw.integers(0, len(kinds), count)
            known = np.nan_to_num(numbers)
            score = known[1] * known[2] + 0.5 * known[5] + 0.3 * np.sin(city) + 0.2 * kind - 0.7
            columns = {f"x{place}": pl.Series(each).fill_nan(None) for place, each in enumerate(numbers)}
            columns |= {"city": pl.Series(cities[city]), "kind": pl.Series(kinds[kind])}
            columns |= {"y": pl.Series((score + 0.5 * draw.normal(size=count) > 0).astype(np.int64))}
            pl.DataFrame(columns).write_parquet(Path(folder) / f"{part:05}.parquet")
        pl.scan_parquet(sorted(Path(folder).glob("*.parquet"))).sink_parquet(path)


def measured(table: Path, *options: str) -> str:
    """Train in a process of its own, and tell of it in a line."""
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-c", COMMAND, "train", str(table), "--target", "y", "--effort", "fast"]
        command += [*options, "--out", str(run), "--quiet", "--json"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        printed = child.stdout.read() if child.stdout else ""
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"the training ended with {status}")
        found = json.loads(printed)
        epochs = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        speeds = " ".join(f"{each['rows_per_second']:,.0f}" for each in epochs)
        used = usage.ru_utime + usage.ru_stime
        return (
            f"{usage.ru_maxrss / (1 << 20):6.2f} GiB at most   {speeds} rows/s   {used:5.0f} s of processors in all   "
            f"AUC {found['metrics']['auc']:.4f}   {found['weights'][:8]}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the large table")
    parser.add_argument("--small", type=int, default=1_000_000, help="rows of the table that is trained on both ways")
    parser.add_argument("--times", type=int, default=3, help="how often each way, in turns")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=stored.folder(), help="where the tables are made")
    parser.add_argument("--make", nargs=2, metavar=("FILE", "ROWS"), help="only make a table")
    given = parser.parse_args()
    if given.make:
        make(Path(given.make[0]), int(given.make[1]))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for rows, ways, times in (
            (given.small, ("--no-stream", "--stream"), given.times),
            (given.rows, ("--stream",), 1),
        ):
            table = Path(folder) / f"{rows}.parquet"
            # In a process of its own: what this one takes counts as taken by those that it starts.
            subprocess.run([sys.executable, __file__, "--make", str(table), str(rows)], check=True)
            print(f"{rows:,} rows, {table.stat().st_size / (1 << 20):,.0f} MiB of Parquet", flush=True)
            for _ in range(times):
                for way in ways:
                    print(f"  {way:<12}{measured(table, way, '--epochs', str(given.epochs))}", flush=True)


if __name__ == "__main__":
    main()
