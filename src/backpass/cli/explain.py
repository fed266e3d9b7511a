"""`backpass explain`: the machine code that a model runs as, kernel by kernel."""

import click

from backpass.cli.options import json_option, model_argument, threads_option
from backpass.cli.output import Voice, working

EPILOG = """\b
Examples:
  backpass explain runs/loans-default-1
  backpass explain runs/loans-default-1 --training --batch-size 256
  backpass explain runs/loans-default-1 --kernel hidden_1 --llvm --assembly
"""


@click.command(epilog=EPILOG, short_help="Show the machine code that a model runs as.")
@model_argument
@click.option("--training", is_flag=True, help="Of a training step with Adam, rather than of predictions.")
@click.option("--batch-size", type=click.IntRange(1, 1 << 20), help="Rows at a time; by default 1024 or its own batch.")
@threads_option
@click.option("--memory", is_flag=True, help="List the values in memory, with layout and bytes.")
@click.option("--llvm", is_flag=True, help="Print the LLVM IR of each kernel.")
@click.option("--assembly", is_flag=True, help="Print the assembly of each kernel.")
@click.option("--kernel", metavar="NAME", help="Only this kernel, such as 0.1, or those of a layer, such as hidden_1.")
@json_option
def explain(
    model: str,
    training: bool,
    batch_size: int | None,
    threads: int | None,
    memory: bool,
    llvm: bool,
    assembly: bool,
    kernel: str | None,
    as_json: bool,
) -> None:
    """Show the native program of MODEL: its kernels, and the time of each.

    A kernel is a loop, or a product of matrices, that calculates several operations of the network's graph together.
    Threads wait for one another only between phases. The times are measured, on made-up rows.
    """
    from backpass.model import load

    loaded = load(model)
    with working("compiling, and measuring"):
        if training:
            from backpass.training.explain import explain_training

            found = explain_training(loaded, batch_size=batch_size, threads=threads)
        else:
            found = loaded.explanation(batch_size=batch_size, threads=threads)
        if as_json:
            plain = found.to_json(llvm=llvm, assembly=assembly, kernel=kernel)
        else:
            text = found.text(memory=memory, llvm=llvm, assembly=assembly, kernel=kernel)
    voice = Voice(as_json=as_json)
    if as_json:
        voice.result(plain)
    else:
        voice.say(text)
