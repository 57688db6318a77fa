"""Findings as pages: the report itself (JSON in and out) and what is drawn from it. Nothing is computed here."""

from retrograd.reports.report import SCHEMA, Curve, Grid, Happening, Measurement, Report, Sample
from retrograd.reports.sparkline import sparkline

__all__ = ["SCHEMA", "Curve", "Grid", "Happening", "Measurement", "Report", "Sample", "sparkline"]
