"""The errors that a user may see: what was wrong, what was expected, what to try.

Any other exception is a bug and keeps its traceback.
"""


class FacemorphError(Exception):
    """An error that is shown to the user without a traceback.

    `problem` says what was wrong and what was expected; `hint` says what to try.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n{self.hint}" if self.hint else self.problem


class InputError(FacemorphError):
    """An input file or folder cannot be used."""


class ImageError(InputError):
    """An image cannot be read."""


class VideoError(InputError):
    """A video cannot be read."""


class FaceError(InputError):
    """No face, or not the expected one, was detected in an image."""


class ConfigError(FacemorphError):
    """An unknown setting, or a value that it cannot have."""


class RunError(FacemorphError):
    """A run folder is inconsistent, or cannot do what was asked."""


class TrainingError(FacemorphError):
    """Training cannot go on (NaN, not enough memory, ...)."""


class OutputError(FacemorphError):
    """An output file or folder cannot be written."""


class WeightsError(FacemorphError):
    """Published weights are missing, are not the published file, or are refused by a reader."""


class RefusedFile(Exception):
    """Inside the readers of network files: the file is damaged, or asks for something that is not allowed.

    The text completes "FILE is refused: it ..."; `facemorph.stylegan.formats` turns it into a `WeightsError`.
    """
