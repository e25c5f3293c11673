"""Option decorators that the subcommands share."""

import functools
import importlib
import io
import logging
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from tqdm import tqdm

Command = TypeVar("Command", bound=Callable[..., Any])

MAX_SEEDS, MAX_SEED = 10_000, 2**63 - 1


class AnyPath(click.Path):
    """A path that there may be or not be, but no empty one, which would be the folder here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("An empty name; a file or folder was expected. Is a variable of the shell not set?", param, ctx)
        return super().convert(value, param, ctx)


PATH = AnyPath(path_type=Path)


class _Console(logging.Handler):
    """Messages go to standard error, above a progress bar rather than through it."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "Warning: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + record.getMessage(), file=sys.stderr)


def verbosity(command: Command) -> Command:
    """Adds -q and -v; the command receives `progress`, whether to show progress bars."""

    @click.option("-q", "--quiet", is_flag=True, help="Only results and errors: no progress bars, no remarks.")
    @click.option("-v", "--verbose", is_flag=True, help="Also print details on the way.")
    @functools.wraps(command)
    def wrapped(*args: Any, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):  # a name of any bytes can be printed, as ls prints it
            if isinstance(stream, io.TextIOWrapper):
                utf8 = stream.encoding.lower().replace("-", "") == "utf8"
                stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
        log = logging.getLogger("facemorph")
        log.handlers[:] = [_Console()]
        log.propagate = False
        log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
        return command(*args, progress=not quiet, **kwargs)

    return wrapped  # type: ignore[return-value]


def computing(command: Command) -> Command:
    """Adds --threads, for commands that compute for long; below @verbosity. At the end it says if others slowed it."""

    @click.option("--threads", type=click.IntRange(1), metavar="N",
                  help="CPU threads to compute with. Default: one for each CPU that others leave free.")  # fmt: skip
    @functools.wraps(command)
    def wrapped(*args: Any, threads: int | None, **kwargs: Any) -> Any:
        from facemorph.threads import Use, choose

        before = Use()
        choose(threads)
        try:
            return command(*args, **kwargs)
        finally:
            if remark := before.remark():
                logging.getLogger("facemorph").info(remark)

    return wrapped  # type: ignore[return-value]


def threads_option(command: Command) -> Command:
    """Adds --threads to commands that are done soon, or have work of their own for every CPU; below @verbosity."""

    @click.option("--threads", type=click.IntRange(1), metavar="N",
                  help="CPU threads to compute with. Default: one for each CPU.")  # fmt: skip
    @functools.wraps(command)
    def wrapped(*args: Any, threads: int | None, **kwargs: Any) -> Any:
        if threads:
            from facemorph.threads import choose

            choose(threads)
        return command(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def device_option(command: Command) -> Command:
    """Adds --device, for `pick_device`."""
    text = "cpu, cuda, cuda:1, ...; auto takes CUDA where there is one."
    return click.option("--device", default="auto", show_default=True, help=text)(command)


class OutputFile(click.Path):
    """A file to write, whose suffix chooses its format: one of `suffixes`, and no folder. Wrong usage otherwise."""

    def __init__(self, *suffixes: str) -> None:
        super().__init__(path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if path.is_dir() or str(value).endswith("/") or path.suffix.lower() not in self.suffixes:
            kind = "is a folder" if path.is_dir() else "has no suffix of a format that can be written"
            self.fail(f"{path} {kind}. A file that ends in {', '.join(self.suffixes)} was expected.", param, ctx)
        return path


IMAGE_FILE = OutputFile(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
PLOT_FILE = OutputFile(".png", ".pdf", ".svg", ".jpg", ".jpeg")


def quoted(text: str) -> str:
    """A word as a shell wants it, where it needs quotes; brackets alone need none in the usual shells."""
    plain = re.fullmatch(r"[\w@%+=:,./\[\]-]+", text)
    return text if plain else shlex.quote(text)


def in_list(name: str) -> str:
    """A list of this one name, as YAML: quoted where YAML would take it for something else."""
    words = ("no", "yes", "on", "off", "true", "false", "null")
    plain = re.fullmatch(r"[A-Za-z/._][\w/.-]*", name) and name.lower() not in words
    return f"[{name}]" if plain else "['{}']".format(name.replace("'", "''"))


class Seeds(click.ParamType):
    """Whole numbers and ranges, like 1,5,8-10."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
            if last < first or last >= 2**32 or last - first >= MAX_SEEDS:
                self.fail(f"{part!r} is no seed or range of up to {MAX_SEEDS} seeds, like 3 or 0-15.", param, ctx)
            seeds += range(first, last + 1)
        return seeds


SEEDS = Seeds()


class Seed(click.IntRange):
    """A whole number of 63 bits at most, as torch takes them; the help need not tell that."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seed = super().convert(value, param, ctx)
        if seed > MAX_SEED:
            self.fail(f"{seed} is larger than {MAX_SEED}.", param, ctx)
        return seed


SEED = Seed(min=0)


def seed_option(help: str) -> Callable[[Command], Command]:
    return click.option("--seed", type=SEED, default=0, show_default=True, help=help)


def output_option(default: str | None, help: str, type: click.ParamType = PATH) -> Callable[[Command], Command]:
    return click.option("-o", "--output", type=type, default=default, show_default=default is not None, help=help)


def overwrite_option(help: str = "Replace results that exist.") -> Callable[[Command], Command]:
    return click.option("--overwrite", is_flag=True, help=help)


def run_options(output: str, seed: str, type: click.ParamType = PATH) -> Callable[[Command], Command]:
    """Adds what every command on a trained run takes: -o, --overwrite, --seed, --device, -q, -v and --threads.

    Without -o such a command writes into the run folder, and replaces its own files there; `output` and `seed` are the
    help texts of these two.
    """

    def add(command: Command) -> Command:
        where = output_option(None, output, type)
        for option in (computing, verbosity, device_option, seed_option(seed), overwrite_option(), where):
            command = option(command)
        return command

    return add


def network_option(command: Command) -> Command:
    """Adds --network: a name, a path, or None, for which the command takes `chosen_network`."""
    text = (
        "A network file (.pkl, .pt, .safetensors) or a card's name. Default: a published FFHQ network, if it and its "
        "perceptual loss are in the cache; otherwise faces-256, inside the package."
    )
    return click.option("--network", help=text)(command)


def chosen_network(network: str | None) -> str:
    """The network where none was named: the best that is ready on this machine; a line of the log tells which."""
    if network is not None:
        return network
    from facemorph.stylegan.load import default_network

    return default_network()


def list_settings_option(place: str) -> Callable[[Command], Command]:
    """Adds --list-settings, which prints what --set may change: the tree of settings classes at "module:Class"."""

    def print_settings(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if not value or ctx.resilient_parsing:
            return
        from facemorph.config import list_settings

        module, _, name = place.partition(":")
        click.echo(format_table(list(list_settings(getattr(importlib.import_module(module), name)))))
        ctx.exit()

    text = "Print every setting that --set may change: key, default, allowed values, meaning."
    return click.option(
        "--list-settings", is_flag=True, is_eager=True, expose_value=False, callback=print_settings, help=text
    )


def format_table(settings: list[tuple[str, str, str, str]]) -> str:
    """Key, default, allowed values and meaning in columns as wide as they need; long cells continue below."""
    import shutil
    import textwrap

    rows = [("key", "default", "allowed", "meaning"), *settings]
    widths = [min(max(len(row[column]) for row in rows), 32) for column in range(3)]
    widths.append(max(30, shutil.get_terminal_size((120, 24)).columns - sum(widths) - 6))
    lines = []
    for row in rows:
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append("  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip())
    return "\n".join(lines)


class TableChoice(click.Choice):
    """The names in a table of the library, written "module:TABLE", which is imported when a value is needed.

    `others` go before them.
    """

    def __init__(self, place: str, *others: str) -> None:
        self.place, self.others, self.case_sensitive = place, others, True

    @property
    def choices(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (*self.others, *self.table())

    def table(self) -> Mapping[str, Any]:
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name)


class SettingChoice(click.Choice):
    """The choices of a setting, written "module:Class.field", which is imported when a value is needed.

    `older` are names that it had before, which are read as well.
    """

    def __init__(self, place: str, *older: str) -> None:
        self.place, self.older, self.case_sensitive = place, older, True

    @property
    def choices(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        from facemorph.config import choices_of

        module, _, name = self.place.partition(":")
        kind, _, field = name.partition(".")
        return (*choices_of(getattr(importlib.import_module(module), kind), field), *self.older)


class TableOption(click.Option):
    """An option whose help lists the `meaning` of every entry of its `TableChoice`."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        assert isinstance(self.type, TableChoice)
        self.help = "; ".join(f"{name}: {entry.meaning}" for name, entry in self.type.table().items()) + "."
        return super().get_help_record(ctx)


crop_option = click.option(
    "--crop", type=TableChoice("facemorph.faces.crop:CROPS"), cls=TableOption, default="eyes", show_default=True
)
detector_option = click.option(
    "--detector", type=TableChoice("facemorph.faces.detect:DETECTORS"), cls=TableOption, default="auto",
    show_default=True,
)  # fmt: skip
landmarks_option = click.option(
    "--landmarks", type=TableChoice("facemorph.faces.landmarks:LANDMARKS"), cls=TableOption, default="auto",
    show_default=True,
)  # fmt: skip


def masking(command: Command) -> Command:
    """Adds --oval and --background; the command receives `mask` ("", "face" or "oval") and `background`."""

    @click.option("--oval", is_flag=True, help="landmarks: cut the face out as an oval, on --background.")
    @click.option("--background", metavar="COLOUR", help="transparent, or #RRGGBB: what surrounds the oval or, without "
                  "--oval, the inner face. Default: white.")  # fmt: skip
    @functools.wraps(command)
    def wrapped(*args: Any, oval: bool, background: str | None, **kwargs: Any) -> Any:
        if background:
            from facemorph.errors import ConfigError
            from facemorph.faces.mask import ground_colour

            try:
                ground_colour(background)
            except ConfigError as error:
                raise click.BadParameter(f"{error.problem} Try {error.hint}", param_hint="'--background'") from None
        mask = "oval" if oval else "face" if background else ""
        return command(*args, mask=mask, background=background or "#FFFFFF", **kwargs)

    return wrapped  # type: ignore[return-value]
