"""What training leaves: encoders, network and weights; predictions, scores, and the file."""

from backpass.model.model import Model, load
from backpass.model.tabular import Predictions, Tabular

__all__ = ["Model", "Predictions", "Tabular", "load"]
