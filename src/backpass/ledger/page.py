"""The ledger as one page for a browser: everything it needs is in it, and it asks the network for nothing."""

from importlib.resources import files

from backpass.ledger.book import Ledger
from backpass.ledger.plain import plain
from backpass.pages.assemble import assemble

TERMS, NODES, WEIGHTS = 12, 64, 16  # of each sum, layer and parameter: so many can be looked at


def page(ledger: Ledger) -> str:
    """The page of a ledger."""
    template = (files("backpass.ledger") / "page.html").read_text(encoding="utf-8")
    table = f" of {ledger.words.table}" if ledger.words.table else ""
    title = f"step {ledger.moment.step:,}, row {ledger.row:,}{table}"
    return assemble(template, title=title, data=plain(ledger, terms=TERMS, nodes=NODES, weights=WEIGHTS))
