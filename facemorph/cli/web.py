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
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0: any that is free.")
@click.option("--auth", metavar="NAME:PASSWORD", envvar="FACEMORPH_WEB_AUTH", callback=name_and_password,
              help="Ask for them. Wanted with --host or --allow-host; rather set FACEMORPH_WEB_AUTH, which no other "
              "user of this machine sees.")  # fmt: skip
@click.option("--no-auth", is_flag=True, help="Others may reach it without a password, as behind a proxy that asks.")
@click.option("--allow-host", "hosts", metavar="NAME", multiple=True,
              help="A name under which a proxy serves it; may be given several times.")  # fmt: skip
@click.option("--run", "runs", type=PATH, multiple=True, help="A trained run to show; may be given several times.")
@click.option("--keep", type=click.IntRange(1, 24 * 60), default=60, show_default=True,
              help="Minutes after their last use that pictures are deleted.")  # fmt: skip
@network_option
@verbosity
@threads_option
def web(
    host: str, port: int, auth: tuple[str, str] | None, no_auth: bool, hosts: tuple[str, ...], runs: tuple[Path, ...],
    keep: int, network: str | None, progress: bool,
) -> None:  # fmt: skip
    """Serve the web page on this machine, until Ctrl-C: children and morphs of two portraits, random faces, runs.

    It needs the extra `web`, and nothing from elsewhere while it runs. What visitors upload and make is kept in a
    folder for each of them, and deleted an hour after its last use and at the end.

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
            click.echo(f"The page is at {address}  (Ctrl-C ends it and deletes what visitors made.)")

    serve(
        network=network, runs=runs, host=host, port=port, rules=Rules(auth, hosts), keep_seconds=60 * keep, ready=ready
    )
