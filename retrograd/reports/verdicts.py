"""A finding as every page shows it: its sentence, why, what it is not, the remedies, and commands that prove one."""

import shlex
from typing import NamedTuple

from retrograd.diagnosis import Finding, Remedy
from retrograd.reports import words
from retrograd.reports.report import Report

PLACEHOLDER = "RUN"  # in commands, where the run's folder is not known


class Way(NamedTuple):
    """One remedy."""

    written: str  # where the model is trained
    kind: str
    expected: str


class Verdict(NamedTuple):
    finding: Finding
    facts: tuple[tuple[str, str], ...]  # "where", "why" ... and what is said of it
    ways: tuple[Way, ...]
    proof: str  # what the commands do
    commands: tuple[str, ...]  # that prove the first remedy


def verdict(finding: Finding, report: Report, *, run: str = "") -> Verdict:
    """`run` is the run's folder, or the FILE.py:FUNCTION of somebody's model, as commands name it."""
    told = {"where": finding.where, "why": finding.why, "is not": finding.is_not, "assumes": finding.assumes}
    ways = [Way(it.written(foreign=report.foreign), it.kind, words.expected(it.predicted)) for it in finding.remedies]
    proof, commands = _proof(finding, report, run)
    return Verdict(
        finding,
        tuple((label, text) for label, text in told.items() if text),
        tuple(way for way in ways if way.written),
        proof,
        commands,
    )


def folder(run: str) -> str:
    """As a command names it."""
    named = run.rstrip("/") or run or PLACEHOLDER
    return f"./{named}" if named.startswith("-") else named


def _proof(finding: Finding, report: Report, run: str) -> tuple[str, tuple[str, ...]]:
    remedy, prove = finding.remedy, "To prove it" if finding.severity == "error" else "If the task needs it"
    if remedy is None or not remedy.written(foreign=report.foreign):  # one that a later version has
        return "", ()
    if not report.foreign:
        return f"{prove}, train again with it and compare:", _trained_again(remedy, run)
    command = f"retrograd fix {shlex.quote(run)} --need {report.subject.get('need')} --apply {remedy.apply}"
    made = run.rpartition(":")[0].endswith(".py")  # else nothing tells a command line how to make the model
    commands = (remedy.call, command) if made else (remedy.call,)
    return f"{prove}, measure it with the remedy and without; keep=True then leaves it in the model:", commands


def _trained_again(remedy: Remedy, run: str) -> tuple[str, ...]:
    """The commands that train again with the remedy and set both runs side by side."""
    first = folder(run)
    other = f"{first}-{remedy.name}"
    config, both = shlex.quote(f"{first}/config.toml"), f"{shlex.quote(first)} {shlex.quote(other)}"
    return (
        f"retrograd train --config {config} {remedy.option} --out {shlex.quote(other)}",
        f"retrograd runs compare {both}",
    )
