"""`backpass check`: a certificate that a trained model's gradients are right, on rows of a table."""

import sys
from typing import TYPE_CHECKING, Any

import click

from backpass.cli.options import coerce_option, delimiter_option, json_option, model_argument, names, table_argument
from backpass.cli.output import Voice, working

if TYPE_CHECKING:
    from backpass.recipes.certificate import Certificate

EPILOG = """\b
Examples:
  backpass check runs/loans-default-1 loans.csv
  backpass check runs/loans-default-1 loans.csv --rows 200 --json
"""


@click.command(epilog=EPILOG, short_help="Prove a model's gradients right on rows of a table.")
@model_argument
@table_argument
@click.option(
    "--rows", type=click.IntRange(min=1), default=32, show_default=True, help="How many rows, from the first."
)
@coerce_option
@delimiter_option
@json_option
def check(model: str, table: str, rows: int, coerce: tuple[str, ...], delimiter: str | None, as_json: bool) -> None:
    """Compare MODEL's gradients by back-propagation with central differences, in float64, on rows of TABLE.

    Prints the largest relative error of each layer. Kinks (a relu exactly at 0) are counted apart: they have no
    derivative. Exit status 0 if every gradient is right, 1 if one is wrong.
    """
    from backpass.data import read_table
    from backpass.model import load
    from backpass.recipes.certificate import certify

    voice = Voice(as_json=as_json)
    loaded = load(model)
    with working("comparing derivatives with differences"):
        certificate = certify(loaded, read_table(table, delimiter=delimiter), rows=rows, coerce=names(coerce))
    voice.say(_lines(certificate))
    voice.result(_plain(certificate))
    sys.exit(0 if certificate.ok else 1)


def _lines(certificate: "Certificate") -> list[str]:
    layers = certificate.layers
    width = max([5, *(len(layer.name) for layer in layers)])
    verdict = "every gradient is right" if certificate.ok else "a gradient is WRONG"
    return [
        f"gradients of {certificate.parameters:,} parameters on {certificate.rows:,} rows, in float64",
        f"  {'layer':<{width}}  largest relative error  directions  kinks",
        *(f"  {x.name:<{width}}  {x.largest_error:22.1e}  {x.directions:10,}  {x.kinks:5,}" for x in layers),
        f"largest error {certificate.largest_error:.1e} of {certificate.tolerance:.0e} allowed: {verdict}",
    ]


def _plain(certificate: "Certificate") -> dict[str, Any]:
    return {
        "ok": certificate.ok,
        "rows": certificate.rows,
        "parameters": certificate.parameters,
        "largest_error": certificate.largest_error,
        "tolerance": certificate.tolerance,
        "layers": {layer.name: vars(layer) for layer in certificate.layers},
    }
