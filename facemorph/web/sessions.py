"""What a visitor uploaded and made: a folder and an object for each visitor, deleted when unused for long."""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import facemorph as fm
from facemorph.api.morphs import Morph
from facemorph.api.portraits import Projection
from facemorph.web.turns import Job

COOKIE = "facemorph"
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 bits, as `new_token` makes them
KEEP_SECONDS = 3600  # after the last request that used it
MOST_SESSIONS = 300  # the one that was idle longest goes first
MOST_BYTES = 200 << 20  # in a visitor's folder; what was made first goes first
MOST_UPLOADS = 4  # of a visitor that were not read yet
UNREAD_SECONDS = 120  # that an upload is kept which nobody reads
PREFIX = "facemorph-web-"


def new_token() -> str:
    return secrets.token_urlsafe(32)


@dataclass
class Portrait:
    """A portrait as its visitor gave it: what was found in it, and which face was chosen."""

    name: str
    faces: list[np.ndarray]  # aligned
    files: list[Path]  # for each face the image that shows it
    quarter_turns: int = 0
    chosen: int = 0
    error: str = ""
    projection: Projection | None = None
    preset: str = ""

    @property
    def file(self) -> Path:
        return self.files[self.chosen]


@dataclass(eq=False)
class Session:
    """One visitor. `files` are what may be downloaded, by name; nothing else in the folder can be asked for."""

    folder: Path
    used: float = field(default_factory=time.monotonic)
    portraits: dict[str, Portrait] = field(default_factory=dict)  # "first", "second"
    family: fm.Family = field(default_factory=lambda: fm.Family(age=10))
    layers: tuple[str, ...] | None = None  # of the morph; None: all of them
    morph_open: bool = False  # its tab is looked at
    moved: float = 0.0  # when a slider of the children was
    way: object = None  # who makes the morph's images now
    way_shown: tuple[Any, ...] = ()  # what those in the browser were made of
    landmarks: Morph | None = None
    files: dict[str, Path] = field(default_factory=dict)
    uploads: dict[str, Path] = field(default_factory=dict)  # that were not read yet, by the name that the page knows
    job: Job | None = None
    stops: int = 0  # how often the visitor pressed stop
    followers: list[object] = field(default_factory=list)  # streams of the progress of the work, the newest last
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def projections(self) -> tuple[Projection, Projection] | None:
        """Both, once both portraits are in the network's latent space."""
        both = [self.portraits[which].projection for which in ("first", "second") if which in self.portraits]
        return (both[0], both[1]) if len(both) == 2 and both[0] and both[1] else None

    @property
    def chosen_files(self) -> list[Path]:
        """The images of both portraits' chosen faces, as far as there are any."""
        both = [self.portraits[which] for which in ("first", "second") if which in self.portraits]
        return [one.file for one in both if one.files]

    def at_work(self, what: str = "") -> bool:
        """Whether long work waits or runs; of one kind, where that is named."""
        return self.job is not None and not self.job.finished.is_set() and what in ("", self.job.what)

    def new_file(self, suffix: str) -> Path:
        """A path in the folder whose name nobody can guess."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return self.folder / f"{secrets.token_hex(8)}{suffix}"

    def take_in(self, suffix: str) -> tuple[str, Path]:
        """A name and a path for an upload."""
        name = secrets.token_hex(16)
        with self.lock:
            path = self.uploads[name] = self.new_file(suffix)
            while len(self.uploads) > MOST_UPLOADS:
                remove(self.uploads.pop(next(iter(self.uploads))))
        return name, path

    def offer(self, name: str, path: Path) -> None:
        """Let the visitor download `path` as `name`, in place of what had that name."""
        with self.lock:
            old = self.files.pop(name, None)
            self.files[name] = path
            if old:
                remove(old)
            while len(self.files) > 1 and sum(_size(one) for one in self.files.values()) > MOST_BYTES:
                remove(self.files.pop(next(iter(self.files))))

    def drop_unread(self, seconds: float) -> None:
        """Delete uploads of so long ago that nobody has read."""
        with self.lock:
            for name, path in list(self.uploads.items()):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > seconds:
                        remove(self.uploads.pop(name))

    def forget(self) -> None:
        """Delete all of it; a job that runs is stopped."""
        with self.lock:
            self.stops += 1
            if self.job:
                self.job.cancel()
            self.portraits.clear()
            self.files.clear()
            self.uploads.clear()
            self.landmarks, self.job, self.family, self.layers = None, None, fm.Family(age=10), None
            self.way, self.way_shown = None, ()
            remove(self.folder)


class Sessions:
    """All visitors, by the secret in their cookie.

    Args:
        root: where their folders are made; by default a new folder for temporary files.
        keep_seconds: how long a visitor's are kept after the last request.
    """

    def __init__(self, keep_seconds: float = KEEP_SECONDS, root: Path | None = None) -> None:
        sweep_dead()
        self.root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))
        self.keep_seconds = keep_seconds
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def scratch(self) -> Path:
        """What Gradio calls its own folder. Nothing is ever put there."""
        return self.root / "gradio"

    def find(self, token: str | None) -> Session | None:
        """The visitor's session, if there is one; asking for it counts as use, so it is kept for longer."""
        with self._lock:
            session = self._sessions.get(token or "")
            if session:
                session.used = time.monotonic()
            return session

    def open(self, token: str | None) -> Session:
        """The visitor's session; a new one where there is none.

        Raises:
            ValueError: this is no token of ours.
        """
        if not token or not TOKEN.fullmatch(token):
            raise ValueError("no session")
        session = self.find(token)
        if session:
            return session
        with self._lock:
            while len(self._sessions) >= MOST_SESSIONS:
                idle = min(self._sessions, key=lambda one: self._sessions[one].used)
                self._sessions.pop(idle).forget()
            return self._sessions.setdefault(token, Session(self.root / secrets.token_hex(16)))

    def forget(self, token: str | None) -> None:
        with self._lock:
            session = self._sessions.pop(token or "", None)
        if session:
            session.forget()

    def sweep(self) -> None:
        """Delete what was not used for too long, and uploads that nobody read."""
        now = time.monotonic()
        with self._lock:
            old = [token for token, one in self._sessions.items() if now - one.used > self.keep_seconds]
            gone = [self._sessions.pop(token) for token in old]
            kept = list(self._sessions.values())
        for session in gone:
            session.forget()
        for session in kept:
            session.drop_unread(min(self.keep_seconds, UNREAD_SECONDS))

    def close(self) -> None:
        """Delete everything."""
        with self._lock:
            gone, self._sessions = list(self._sessions.values()), {}
        for session in gone:
            session.forget()
        remove(self.root)

    def __len__(self) -> int:
        return len(self._sessions)


def sweeping(sessions: Sessions, every_seconds: float = 30) -> Callable[[], None]:
    """Sweep from now on, in a thread of its own; the function that is returned ends it."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_seconds):
            sessions.sweep()

    threading.Thread(target=run, name="sweep", daemon=True).start()
    return stop.set


def sweep_dead() -> None:
    """Delete what servers left behind that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if folder.stat().st_uid == os.getuid() and not Path(f"/proc/{int(number)}").exists() and _has_proc():
                remove(folder)


def _has_proc() -> bool:
    return Path("/proc/self").exists()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
