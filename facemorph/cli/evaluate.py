"""`facemorph evaluate`: how good is what was made?"""

import click

from facemorph.cli.evaluate_morph import evaluate_morph
from facemorph.cli.evaluate_run import run

DEFAULT = "run"


class DefaultGroup(click.Group):
    """A first word that names none of the subcommands belongs to the default one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group(cls=DefaultGroup, short_help="Measure a run's samples, a morph, or children.")
def evaluate() -> None:
    """Measure what was made. `facemorph evaluate FOLDER...` is short for `facemorph evaluate run FOLDER...`.

    \b
    facemorph evaluate run/
    facemorph evaluate runs/few runs/few-plain --samples 2000
    facemorph evaluate morph morphs/ann-bob
    """


evaluate.add_command(run)
evaluate.add_command(evaluate_morph)
