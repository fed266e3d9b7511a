"""`backpass demo`: back-propagation, told on data that comes with backpass."""

import click

from backpass.cli.output import Voice

EPILOG = """\b
Examples:
  backpass demo iris
  backpass demo xor
"""


@click.command(epilog=EPILOG, short_help="Back-propagation told with its numbers: iris, xor.")
@click.argument("story", type=click.Choice(["iris", "xor"]), default="iris")
@click.option(
    "--seed", type=click.IntRange(0, (1 << 63) - 1), default=0, show_default=True, help="Another seed, other numbers."
)
def demo(story: str, seed: int) -> None:
    """Tell how a network learns, with the numbers.

    \b
    iris  the textbook's five steps on one flower, then the whole program,
          as it was published and as it is done today
    xor   why a network needs a hidden layer
    """
    if story == "iris":
        from backpass.recipes.demo_iris import tell
    else:
        from backpass.recipes.demo_xor import tell
    voice = Voice()
    for line in tell(seed):
        voice.say(line)
