"""The `facemorph` command as a program, `python -m facemorph` too."""

import atexit
import os
import signal
import sys
from typing import TextIO

from facemorph.cli import main


def program() -> None:
    """Run the command, and end at once: to take torch down piece by piece would last another half a second."""
    code = 1  # what an unforeseen error leaves
    atexit.register(lambda: end_at_once(code))  # the first to be registered is the last to be called
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that what is half-written goes
    try:
        main(prog_name="facemorph")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    except OSError as error:
        if takes_text(sys.stdout, "\n"):  # then it is another file's error, which should have been reported
            raise
        sys.stderr.write(
            f"Error: Standard output cannot be written: {error.strerror or error}. A terminal, a pipe, or a file on a "
            "disk with free space was expected.\nFree some space, or send it elsewhere; files that the command was to "
            "write are whole, or not there.\n"
        )


def takes_text(stream: TextIO | None, text: str = "") -> bool:
    """Whether a text, and what a stream holds back, can be written; one that is closed, as by `>&-`, needs nothing."""
    try:
        if stream is not None and not stream.closed:
            if text:  # nothing at all is refused too by a full device
                stream.write(text)
            stream.flush()
    except OSError:
        return False
    return True


def end_at_once(code: int) -> None:
    """End the process with an exit code; what is written lies with the system already, or is flushed here.

    A code of 0 becomes 1 where that fails, as when the disk is full.
    """
    written = [takes_text(stream) for stream in (sys.stdout, sys.stderr)]
    os._exit(code if all(written) else code or 1)


if __name__ == "__main__":
    program()
