"""The ledger: any step of a training, any row of its batch, any weight, with every number and where it comes from."""

from backpass.ledger.attribution import Why, why
from backpass.ledger.book import Ledger, ledger
from backpass.ledger.choice import telling
from backpass.ledger.moment import Moment, look
from backpass.ledger.words import Cell, Words

__all__ = ["Cell", "Ledger", "Moment", "Why", "Words", "ledger", "look", "telling", "why"]
