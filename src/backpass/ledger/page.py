"""The ledger as one page for a browser: everything it needs is in it, and it asks the network for nothing."""

import html
import json
from importlib.resources import files

from backpass.ledger.book import Ledger
from backpass.ledger.plain import plain

TERMS, NODES, WEIGHTS = 12, 64, 16  # of each sum, layer and parameter: so many can be looked at


def page(ledger: Ledger) -> str:
    """The page of a ledger.

    The numbers stand in it as JSON, in which "<" is written in a way that no browser takes for the end of a script.
    """
    template = (files("backpass.ledger") / "page.html").read_text(encoding="utf-8")
    table = f" of {ledger.words.table}" if ledger.words.table else ""
    title = html.escape(f"step {ledger.moment.step:,}, row {ledger.row:,}{table}")
    told = plain(ledger, terms=TERMS, nodes=NODES, weights=WEIGHTS)
    data = json.dumps(told, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    data = data.replace("<", "\\u003c")
    before, _, rest = template.partition("{{ledger}}")
    return before.replace("{{title}}", title) + data + rest
