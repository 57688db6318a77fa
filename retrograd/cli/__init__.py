"""The command line: one file a verb. Nothing heavy is imported before a verb needs it."""

from retrograd.cli.app import main

__all__ = ["main"]
