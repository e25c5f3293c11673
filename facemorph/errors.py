"""The family of errors that a user may see: what was wrong, what was expected, what to try.

Everything else that escapes is our own mistake and keeps its traceback.
"""


class FacemorphError(Exception):
    """A mistake or misfortune to be told in plain words.

    `problem` says what was wrong and what was expected; `hint` says what to try.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n{self.hint}" if self.hint else self.problem


class InputError(FacemorphError):
    """A file or folder that was given cannot be used."""


class ImageError(InputError):
    """An image that cannot be read as one."""


class VideoError(InputError):
    """A clip that cannot be read as one."""


class FaceError(InputError):
    """An image without the face that was asked for."""


class ConfigError(FacemorphError):
    """A configuration with an unknown key or an impossible value."""


class RunError(FacemorphError):
    """A run folder, or what was asked of it, that does not hold together."""


class TrainingError(FacemorphError):
    """Training cannot go on (NaN, not enough memory, ...)."""


class OutputError(FacemorphError):
    """The result cannot be written where it was asked for."""


class WeightsError(FacemorphError):
    """Published weights that cannot be had, are not what they should be, or ask for what is not allowed."""


class RefusedFile(Exception):
    """Inside the readers of network files: what a file asks for is not allowed, or it is damaged.

    The text completes "FILE is refused: it ..."; `facemorph.stylegan.formats` turns it into a `WeightsError`.
    """
