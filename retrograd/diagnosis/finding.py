"""What is wrong, in one sentence with its number, why, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

from retrograd.diagnosis.remedy import Remedy

Severity = Literal["error", "note"]  # a note rests on an assumption, or costs something without standing in the way
SEVERITIES: tuple[Severity, ...] = ("error", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that a rule has found, in a sentence, with the numbers that it rests on."""

    code: str  # the rule that found it: "vanishing"
    severity: Severity
    message: str
    evidence: dict[str, int | float | None]
    where: str = ""  # layer and state; empty for the whole model
    why: str = ""  # from the attribution, where that was measured
    is_not: str = ""  # what it could be taken for
    assumes: str = ""  # the need, and where it comes from
    remedies: tuple[Remedy, ...] = ()  # those to try first come first

    @property
    def remedy(self) -> Remedy | None:
        """The one to try first."""
        return self.remedies[0] if self.remedies else None
