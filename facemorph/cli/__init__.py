"""The `facemorph` command: one file per subcommand, imported when it is called or listed.

The subcommand files import nothing heavy at their top, so that `facemorph --help` loads no torch.
"""

import importlib
from typing import Any

import click

from facemorph import __version__
from facemorph.errors import FacemorphError

# in the order of use
COMMANDS = [
    "extract",
    "align",
    "compare",
    "train",
    "plot-loss",
    "sample",
    "walk",
    "evaluate",
    "morph",
    "average",
    "transform",
    "landmarks",
    "weights",
    "generate",
    "project",
    "train-encoder",
    "train-generator",
    "directions",
    "child",
    "web",
]


class LazyGroup(click.Group):
    """Finds the command `plot-loss` as `facemorph.cli.plot_loss.plot_loss`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(importlib.import_module(f"facemorph.cli.{name}"), name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            message = f"{error.message} Did you mean {near[0]!r}?" if near else error.message
            raise click.UsageError(message, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FacemorphError as error:
            raise click.ClickException(str(error)) from error  # on standard error, with exit code 1
        except OSError as error:
            if error.filename is None:  # not of a file that the user could look at
                raise
            raise click.ClickException(
                f"{error.filename} cannot be used: {error.strerror}.\nCheck its name, its permissions, and the disk."
            ) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="facemorph")
def main() -> None:
    """Face morphing with GANs: from two clips to a walk from one person to the other.

    \b
    facemorph extract man.mp4 woman.mp4      clips -> frames/
    facemorph align frames/*                 frames -> faces/
    facemorph train --config mixed.yaml      faces -> run/
    facemorph plot-loss run/                 the losses, with a verdict
    facemorph evaluate run/                  how good are the samples?
    facemorph walk run/ --from-person man --to-person woman

    Exit codes: 0 done, 1 it could not be done (the message says why), 2 wrong usage, 130 interrupted.
    """
    if another_facemorph():
        click.echo(
            "Warning: PyPI's package facemorph, another project with the same command and module, is installed too; "
            "the two overwrite each other's files.\nIf something fails: pip uninstall facemorph facemorph-toolkit, "
            "then install facemorph-toolkit again.",
            err=True,
        )


def another_facemorph() -> bool:
    """Whether the other project of this name, which is not facemorph-toolkit, is installed."""
    import importlib.metadata

    try:
        importlib.metadata.distribution("facemorph")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
