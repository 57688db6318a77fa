"""All that a run measured and found, as one value; every page is drawn from it.

JSON has no NaN and no infinity. Here both are data, and are written by name: "NaN", "Infinity", "-Infinity".
"""

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from retrograd import runs
from retrograd.diagnosis import Finding
from retrograd.errors import RunError
from retrograd.measures import Horizon, Saturation

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1


@dataclass(frozen=True)
class Measurement:
    """One look at the model, after so many steps of training."""

    step: int
    horizon: Horizon
    saturation: Saturation | None = None


@dataclass(frozen=True)
class Report:
    title: str
    subject: dict[str, str | int | float | None]  # what was measured: model, cell, parameters, window
    measurements: dict[str, Measurement]  # by name: "start", "end"
    findings: tuple[Finding, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)  # how well it does: nats, perplexity, bits
    sample: str = ""
    schema: int = SCHEMA

    def to_json(self) -> str:
        return runs.to_json(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Raises RunError where the text is no report, or one of another schema."""
        from pydantic import ValidationError

        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise RunError(f"The report is not JSON ({error}); measure the run again: retrograd diagnose.") from None
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise RunError(f"The report has schema {schema}; this version of Retrograd reads schema {SCHEMA}.")
        try:
            return _reader().validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RunError(f"The report cannot be read: {where}: {first['msg']}.") from None


@cache
def _reader() -> "TypeAdapter[Report]":
    from pydantic import TypeAdapter

    return TypeAdapter(Report)
