"""The command line: one file a verb. Nothing heavy is imported before a verb needs it."""

from retrograd.cli import signals


def main() -> None:
    """Run the command line; a signal leaves it with one sentence from the first import on."""
    with signals.handled(signals.leave):
        from retrograd.cli.app import run

        run()
