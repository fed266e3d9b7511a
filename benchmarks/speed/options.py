"""What is asked for on the command line."""

from dataclasses import dataclass, field
from pathlib import Path

PEERS = ("torch", "jax", "sklearn")


@dataclass(frozen=True)
class Options:
    """The same for every part."""

    executor: str = "native"
    peers: tuple[str, ...] = PEERS
    repeats: int = 7
    seconds: float = 0.5
    """About how long one measurement takes."""
    quick: bool = False
    compile: bool = False
    data: Path = field(default_factory=Path)
    out: Path = field(default_factory=Path)
