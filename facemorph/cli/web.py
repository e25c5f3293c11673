"""`facemorph web`: the page."""

import importlib.util
from pathlib import Path

import click

from facemorph.cli.options import PATH, network_option, threads_option, verbosity


def name_and_password(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, str] | None:
    if value is None:
        return None
    name, colon, password = value.partition(":")
    if not colon or not name or len(password) < 8:
        raise click.BadParameter("NAME:PASSWORD was expected, with a password of at least 8 characters.")
    return name, password


def has_gradio() -> bool:
    try:
        return importlib.util.find_spec("gradio") is not None
    except ValueError:  # blocked
        return False


@click.command(short_help="The web page: two portraits in, a family out.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0 takes any free port.")
@click.option("--auth", metavar="NAME:PASSWORD", envvar="FACEMORPH_WEB_AUTH", callback=name_and_password,
              help="Ask visitors for this name and password. Required with --host or --allow-host. Better set "
              "FACEMORPH_WEB_AUTH: other users of this machine can see what is typed here.")  # fmt: skip
@click.option("--no-auth", is_flag=True, help="Let others in without a password: for a proxy that asks for one.")
@click.option("--allow-host", "hosts", metavar="NAME", multiple=True,
              help="A name under which a proxy serves the page; may be given several times.")  # fmt: skip
@click.option("--run", "runs", type=PATH, multiple=True, help="A trained run to show; may be given several times.")
@click.option("--keep", type=click.IntRange(1, 24 * 60), default=60, show_default=True,
              help="Pictures are deleted this many minutes after a visitor last used the page.")  # fmt: skip
@network_option
@verbosity
@threads_option
def web(
    host: str, port: int, auth: tuple[str, str] | None, no_auth: bool, hosts: tuple[str, ...], runs: tuple[Path, ...],
    keep: int, network: str | None, progress: bool,
) -> None:  # fmt: skip
    """Serve a web page until Ctrl-C: children and morphs of two portraits, random faces, and trained runs.

    It needs the extra `web`, and no internet. What a visitor uploads and makes lies in a folder of its own, which is
    deleted after --keep minutes without use, and when the server stops.

    \b
    facemorph web
    facemorph web --port 8000 --run run/ --run runs/paper
    facemorph web --host 0.0.0.0 --auth anna:a-long-password
    facemorph web --allow-host faces.example.org --auth anna:a-long-password
    """
    if not has_gradio():
        raise click.ClickException(
            "The web page needs Gradio, which is not installed.\nInstall it: pip install 'facemorph-toolkit[web]' "
            "(from a checkout: pip install '.[web]')"
        )
    from facemorph.web.guard import Rules
    from facemorph.web.server import check_address, serve

    check_address(host, auth, hosts, open_to_all=no_auth)

    def ready(address: str) -> None:
        if progress:
            click.echo(f"The page is at {address}  (Ctrl-C stops it and deletes what visitors made.)")

    serve(
        network=network, runs=runs, host=host, port=port, rules=Rules(auth, hosts), keep_seconds=60 * keep, ready=ready
    )
