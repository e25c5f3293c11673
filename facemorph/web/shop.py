"""What all visitors share, and a visitor's family as files."""

import shutil
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import facemorph as fm
from facemorph.api.morphs import Morph
from facemorph.errors import FacemorphError
from facemorph.web.sessions import Session, Sessions
from facemorph.web.turns import Turns

MOST_LANDMARKS = 8  # landmark morphs in memory, 6 MB each; that of another visitor is made again when it is asked for
LANDMARKS_PX = 256
LIVE = {"sheet.png", "family.json", "family.zip"}  # made when they are asked for


@dataclass
class Shop:
    """What all visitors share: the network, the queue of long work, the sessions, the runs that are shown.

    `quick` is one thread, on which the generator runs for sliders while long work goes on in another.
    """

    network: fm.Network
    sessions: Sessions
    turns: Turns = field(default_factory=Turns)
    runs: dict[str, Path] = field(default_factory=dict)
    quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "quick"))

    _holders: deque[Session] = field(default_factory=deque)  # of a landmark morph, who used it last at the end
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def landmarks(self, session: Session) -> Morph | None:
        """The landmark morph of the visitor's portraits; None where there is none."""
        with session.lock:
            morph, files = session.landmarks, session.chosen_files
        if len(files) < 2:
            return None
        if morph is None:
            try:
                morph = fm.landmark_morph(files[0], files[1], size=LANDMARKS_PX)
            except FacemorphError:  # what the network's encoder took for a face is none by its landmarks
                return None
        with session.lock, self._lock:
            if session.chosen_files != files:
                return None
            session.landmarks = morph
            if session in self._holders:
                self._holders.remove(session)
            self._holders.append(session)
            while len(self._holders) > MOST_LANDMARKS:
                self._holders.popleft().landmarks = None
        return morph

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
