"""The command `backpass`: its parts, and how errors are told."""

import atexit
import gc
import io
import signal
import sys
import threading
import warnings
from typing import Any

import click

from backpass import __version__
from backpass.cli.check import check
from backpass.cli.demo import demo
from backpass.cli.doctor import doctor
from backpass.cli.evaluate import evaluate
from backpass.cli.explain import explain
from backpass.cli.output import ENDING, SIGNALLED, abandon_output, printable
from backpass.cli.predict import predict
from backpass.cli.report import report
from backpass.cli.reproduce import reproduce
from backpass.cli.resume import resume
from backpass.cli.show import playground, show
from backpass.cli.trace import trace
from backpass.cli.train import train
from backpass.errors import BackpassError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, prog_name="backpass")
def backpass() -> None:
    """Trains neural networks by back-propagation: a table in, a trained network out.

    \b
    A first result in a minute, on data that comes with backpass:
      backpass demo iris
    On a table of your own:
      backpass train loans.csv --target default
      backpass predict runs/loans-default-1 new.csv --out answers.csv
    """


for command in (
    train, resume, predict, evaluate, check, report, show, trace, doctor, explain, reproduce, demo, playground
):  # fmt: skip
    backpass.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command. What a user can mend is told in one line, with status 2; faults of ours keep a traceback."""
    before = _heeding_signals()
    if arguments is None:  # the process is this command's alone
        _spare_collections()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a terminal has no letters for is shown by its numbers
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_: click.echo(f"backpass: {printable(str(message))}", err=True)
    try:
        backpass.main(arguments, prog_name="backpass", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        _tell(_worded(error))
    except BackpassError as error:
        _tell(str(error), error.exit_status)
    except MemoryError:
        _tell("there is not enough memory for this: take fewer nodes, rows or columns, or smaller batches")
    except (KeyboardInterrupt, click.Abort) as error:
        click.echo("backpass: interrupted", err=True)
        sys.exit(SIGNALLED + getattr(error.__cause__ or error, "signal", signal.SIGINT))  # click makes its own of it
    finally:
        # Python is yet to end, and what it is to end with is known; within another program signals are as they were.
        for number, was in before.items():
            _on_signal(number, signal.SIG_IGN if arguments is None else was)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, which ends the command as Ctrl-C does: with what there is to say, and nothing half done."""

    signal = signal.SIGTERM


def _heeding_signals() -> dict[int, Any]:
    """SIGTERM is raised from here on, as Ctrl-C is, unless the program has it otherwise; what signals did before."""
    before: dict[int, Any] = {number: signal.getsignal(number) for number in ENDING}
    if before[signal.SIGTERM] == signal.SIG_DFL:
        _on_signal(signal.SIGTERM, _terminated)
    return before


def _terminated(*_: Any) -> None:
    raise TerminatedError


def _on_signal(number: int, does: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, does)


def _spare_collections() -> None:
    """Look less often through all objects for rings of garbage: most are those of imports, which stay."""
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)  # and not once more when the process ends, and all is let go of


def _worded(error: click.ClickException) -> str:
    """What click says; of the options that an unknown one may have been meant to be only that which it probably was."""
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        from backpass.data.naming import closest

        near = closest(error.option_name, error.possibilities)
        error = click.NoSuchOption(error.option_name, possibilities=None if near is None else [near])
    return error.format_message()


def _tell(message: str, status: int = 2) -> None:
    abandon_output()
    click.echo(f"backpass: {printable(' '.join(message.split()))}", err=True)
    sys.exit(status)
