"""How fast backpass trains and predicts, against PyTorch, JAX and scikit-learn, each at its best settings, in one run.

    python benchmarks/speed.py                          # everything (about half an hour)
    python benchmarks/speed.py works --quick            # the five works, small
    python benchmarks/speed.py iris digits --peers jax  # two works against one peer
    python benchmarks/speed.py textbook predict         # single parts

Parts: works (iris, digits, table, mnist, large), textbook, first-epoch, predict, widths, scaling, memory, command.
What each measures stands at the top of its file in benchmarks/speed/. Contenders take turns, so that a busy machine
slows all of them; what is shown is the median with its range. A peer that is not installed is named. Results are
written as JSON, Markdown and SVG. Only ratios from one run mean anything: machines differ, and so does one machine
from day to day.
"""

import argparse
from pathlib import Path

from speed.options import PEERS, Options
from speed.parts import PARTS, run
from speed.works import WORKS

HERE = Path(__file__).parent


def main() -> None:
    """Read the command line, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join([*PARTS, *WORKS])}; all parts if none")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast it is")
    parser.add_argument("--executor", default="native", help="what runs backpass's graphs")
    parser.add_argument("--peers", default=",".join(PEERS), help="which peers, with commas between; '' for none")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of each measurement")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long one measurement takes, about")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: it compiles for half a minute each")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="where MNIST-like is")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="the folder for the results")
    given = parser.parse_args()
    wanted = given.parts or list(PARTS)
    unknown = [name for name in wanted if name not in (*PARTS, *WORKS)]
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}: expected {', '.join([*PARTS, *WORKS])}")
    peers = tuple(name for name in given.peers.split(",") if name)
    if not set(peers) <= set(PEERS):
        parser.error(f"--peers is {given.peers!r}: expected some of {', '.join(PEERS)}")
    options = Options(
        executor=given.executor,
        peers=peers,
        repeats=min(given.repeats, 3) if given.quick else given.repeats,
        seconds=min(given.seconds, 0.05) if given.quick else given.seconds,
        quick=given.quick,
        compile=given.compile,
        data=given.data,
        out=given.out,
    )
    run(wanted, options)


if __name__ == "__main__":
    main()
