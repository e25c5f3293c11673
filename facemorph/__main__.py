"""The `facemorph` command as a program, `python -m facemorph` too."""

import atexit
import os
import sys

from facemorph.cli import main


def program() -> None:
    """Run the command, and end at once: to take torch down piece by piece would last another half a second."""
    code = 1  # what an unforeseen error leaves
    atexit.register(lambda: end_at_once(code))  # the first to be registered is the last to be called
    try:
        main(prog_name="facemorph")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise


def end_at_once(code: int) -> None:
    """End the process with an exit code; what is written lies with the system already, or is flushed here.

    A code of 0 becomes 1 where that fails, as when the disk is full.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:  # as after `facemorph >&-`
            continue
        try:
            stream.flush()
        except OSError:
            code = code or 1
    os._exit(code)


if __name__ == "__main__":
    program()
