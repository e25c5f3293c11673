"""README, configs and help speak of commands that exist: each one is parsed as it stands."""

import contextlib
import re
import shlex
from pathlib import Path

import click
import pytest
from conftest import ROOT

from facemorph import config
from facemorph.cli import COMMANDS, main


def commands_in(text: str) -> list[str]:
    """Lines that begin with `facemorph`, prompt or not, with continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"^\s*(?:\$ |# Command: |\| *`)?(facemorph [^`\n|]*)", text, re.M)
    return [re.split(r"\s{2,}|\s#\s|;|&&", line)[0].strip() for line in found]


DEFAULT = "run"  # what `facemorph evaluate FOLDER` is short for
EVALUATED = ("run", "morph")


def parse(line: str) -> None:
    """Raise unless the command accepts these words."""
    words = shlex.split(line)[1:]
    context = main.make_context("facemorph", list(words), resilient_parsing=False) if words[0].startswith("-") else None
    if context is None:
        group: click.Group | None = main
        while group is not None:  # down to the subcommand
            name, command, rest = group.resolve_command(click.Context(group), list(words))
            assert command is not None, name
            group = command if isinstance(command, click.Group) else None
            if group is None:
                with contextlib.suppress(click.exceptions.Exit):  # of --list-settings, which needs nothing else
                    command.make_context(name, list(rest))
            words = [DEFAULT, *rest] if name == "evaluate" and rest[0] not in EVALUATED else list(rest)


PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "experiments").rglob("*.md"))]
DOCUMENTS = [ROOT / "README.md", *sorted(config.SHIPPED.glob("*.yaml")), *PAGES]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_the_documents_parses(path: Path) -> None:
    for line in commands_in(path.read_text()):
        if any(word in line for word in ("--help", "--version")):
            continue
        parse(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_in_the_help_parses(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    for line in commands_in(command.help or ""):
        parse(line)


def test_the_four_promised_lines_are_in_readme_and_parse() -> None:
    readme = (ROOT / "README.md").read_text()
    for line in (
        "facemorph extract video.mp4",
        "facemorph train --config mixed.yaml",
        "facemorph morph a.jpg b.jpg",
        "facemorph plot-loss run/",
    ):
        assert line in readme
        parse(line)


def test_readme_names_the_two_commands_and_the_makefile_has_them() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.M)


@pytest.mark.parametrize("path", sorted(config.SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_says_how_to_run_it(path: Path) -> None:
    text = path.read_text()
    kind, _, preset = path.stem.removesuffix("-small").partition("-")
    commands = {"project": f"project a.jpg --preset {preset}", "encoder": "train-encoder --config encoder.yaml"}
    commands["generator"] = "train-generator faces"
    command = commands.get(kind, f"train --config {path.name}")
    for heading in (f"# Command: facemorph {command}", "# Hardware: ", "# Time: ", "# Expected: "):
        assert heading in text, heading


def test_links_in_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target.split("#")[0]).exists(), target
