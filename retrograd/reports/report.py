"""All that a run measured and found, as one value; every page is drawn from it.

JSON has no NaN and no infinity. Here both are data, and are written by name: "NaN", "Infinity", "-Infinity".
"""

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrograd import runs
from retrograd.diagnosis import Finding
from retrograd.errors import NotMeasured, RunError
from retrograd.measures import (
    Attribution,
    Context,
    Contributions,
    Depth,
    Forgetting,
    Horizon,
    Jacobians,
    LyapunovSpectrum,
    Parts,
    Saturation,
    Spectrum,
    WindowAdequacy,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 4


@dataclass(frozen=True)
class Measurement:
    """One look at the model, after so many steps of training."""

    step: int
    horizon: Horizon
    saturation: Saturation | None = None
    contributions: Contributions | None = None
    spectrum: Spectrum | None = None
    attribution: Attribution | None = None
    window: WindowAdequacy | None = None
    jacobians: Jacobians | None = None
    lyapunov: LyapunovSpectrum | None = None
    forgetting: Forgetting | None = None
    depth: Depth | None = None
    context: Context | None = None
    parts: Parts | None = None


@dataclass(frozen=True)
class Curve:
    """One quantity through training. Where a point stands for many lines of the log, `low` and `high` are the range."""

    unit: str  # "nats per token"
    steps: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Figures by something, such as by the order of a model: a row for each."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


@dataclass(frozen=True)
class Sample:
    """What the model wrote after so many steps."""

    step: int
    text: str


@dataclass(frozen=True)
class Happening:
    """Something that befell the run: "started", "resumed", "went back", "preempted" ..."""

    name: str
    time: float  # seconds since 1970
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Report:
    """All of one run, or of one look at a model; what was not done is empty.

    Printed it is a page of text, in a notebook a page with pictures and without scripts.
    """

    title: str
    subject: dict[str, str | int | float | None]  # what was measured: model, cell, parameters, window
    measurements: dict[str, Measurement]  # by name: "start", "end"
    findings: tuple[Finding, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)  # how well it does: nats, perplexity, bits
    grids: dict[str, Grid] = field(default_factory=dict)  # by heading
    samples: tuple[Sample, ...] = ()
    status: str = "finished"  # or "running", "preempted", "failed", "killed"; "measured": one look, and no training
    curves: dict[str, Curve] = field(default_factory=dict)  # "loss", "validation", "gradient norm", "horizon" ...
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    happenings: tuple[Happening, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader should know of how it was measured, and what could not be
    gradient: bool = True  # False: of a model that counts, in which nothing reaches back
    foreign: bool = False  # is it about somebody's own model, which no command line trains?
    schema: int = SCHEMA

    @property
    def sample(self) -> str:
        """The last thing that the model wrote."""
        return self.samples[-1].text if self.samples else ""

    @property
    def horizon(self) -> Horizon:
        """The last one measured. Raises NotMeasured where none was."""
        if not self.measurements:
            raise NotMeasured(f"The report on {self.title} holds no measurement.")
        return list(self.measurements.values())[-1].horizon

    def __repr__(self) -> str:
        from retrograd.reports.text import page

        return page(self)

    def _repr_html_(self) -> str:
        """In a frame of its own, so that its style is not the notebook's."""
        from retrograd.reports.html import page

        return (
            f'<iframe sandbox srcdoc="{escape(page(self))}" style="width: 100%; height: 48em; border: 0" '
            f'title="{escape(self.title)}"></iframe>'
        )

    def to_html(self, file: str | Path, *, force: bool = False) -> Path:
        """Write the page. Raises UsageError where another file is, unless it may be written over."""
        from retrograd.reports.html import write

        return write(self, file, force=force)

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
            raise RunError(
                f"The report has schema {schema}; this version of Retrograd reads schema {SCHEMA}. "
                "Measure the run again: retrograd diagnose RUN."
            )
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
