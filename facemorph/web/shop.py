"""What all visitors share, and a visitor's family as files."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import facemorph as fm
from facemorph.web.sessions import Session, Sessions
from facemorph.web.turns import Turns

LIVE = {"sheet.png", "family.json", "family.zip"}  # made when they are asked for


@dataclass
class Shop:
    """What all visitors share: the network, the line for long work, the sessions, the runs that are shown.

    `quick` is one thread, on which the generator runs for sliders while long work goes on in another.
    """

    network: fm.Network
    sessions: Sessions
    turns: Turns = field(default_factory=Turns)
    runs: dict[str, Path] = field(default_factory=dict)
    quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "quick"))

    def close(self) -> None:
        self.turns.close()
        self.quick.shutdown(wait=False, cancel_futures=True)
        self.sessions.close()


def pack(shop: Shop, session: Session, name: str) -> Path | None:
    """The family as it stands, written by the front door: its sheet, family.json, or all of it in a ZIP."""
    both = session.projections
    if both is None:
        return None
    folder = session.new_file("")
    names = (session.portraits["first"].name, session.portraits["second"].name)
    shop.network.write_children(folder, *both, session.family, names=names)
    for which, projection in zip(("mother", "father"), both, strict=True):
        projection.write_latent(folder / f"{which}.safetensors")
    made = folder / name
    if name.endswith(".zip"):
        made = Path(shutil.make_archive(str(folder), "zip", folder))
    else:
        made = made.rename(folder.with_suffix(made.suffix))
    shutil.rmtree(folder)
    session.offer(name, made)
    return made
