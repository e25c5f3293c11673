"""`python -m facemorph` is the `facemorph` command."""

from facemorph.cli import main

if __name__ == "__main__":
    main(prog_name="facemorph")
