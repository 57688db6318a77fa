"""Nothing of ours stops a training: what fails is one warning."""

import warnings

from retrograd.errors import RetrogradError


class RetrogradWarning(RuntimeWarning):
    """Something about watching a training did not work; the training goes on."""


class Guard:
    """Lets no error out of its block, and tells the first. An interrupt passes.

    It is entered several times in each step of a training, so it is no generator.
    """

    def __init__(self) -> None:
        self.step = 0  # of the training, as the warning names it
        self.told = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, Exception):
            return False
        if not self.told:
            self.told = True
            told = f"Watching failed at step {self.step}. {sentence(error)} The training goes on; this is told once."
            warnings.warn(told, RetrogradWarning, stacklevel=3)
        return True


def sentence(error: Exception) -> str:
    """Errors of our own are one; of others, their class and what they say."""
    return str(error) if isinstance(error, RetrogradError) else f"{type(error).__name__}: {error}".rstrip(": .") + "."
