"""Findings as pages: the report itself (JSON in and out) and what is drawn from it. Nothing is computed here."""

from retrograd.reports.report import SCHEMA, Curve, Happening, Measurement, Report, Sample
from retrograd.reports.sparkline import sparkline

__all__ = ["SCHEMA", "Curve", "Happening", "Measurement", "Report", "Sample", "sparkline"]
