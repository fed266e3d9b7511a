"""What a doctor says: a finding, on its evidence, and what to try."""

from typing import Any

from backpass.doctor.remedies import Remedy
from backpass.records import dataclass


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that is wrong.

    Attributes:
        name: of the sickness.
        evidence: what was measured, in words, with the numbers.
        advice: what to try, in words.
        remedy: the same for a machine; None where only a person can do it.
        promise: the skill on the rows, and on those held out, of a short trial with the remedy; None
            where none was made.
        stands: where it stands of one about rows: "alone", for nothing else can be said; "first"; "second", after what
            is likeliest of the network; or "last".
    """

    name: str
    evidence: str
    advice: str
    remedy: Remedy | None = None
    promise: tuple[float, float] | None = None
    stands: str = "last"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "evidence": self.evidence,
            "advice": self.advice,
            "remedy": None if self.remedy is None else self.remedy.to_json(),
            "promise": None if self.promise is None else list(self.promise),
        }
