"""Two portraits: read, looked at, chosen among, and found in the network."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

import facemorph as fm
from facemorph.errors import FacemorphError
from facemorph.web.guard import MAX_UPLOAD_BYTES
from facemorph.web.sessions import COOKIE, Portrait, Session, remove
from facemorph.web.shop import Shop
from facemorph.web.turns import Job
from facemorph.web.words import Words

EXAMPLES = {"first": "eileen_collins.jpg", "second": "grace_hopper.jpg"}
MAX_PIXELS = 50_000_000  # a telephone's; 150 MB as RGB
LONGEST_NAME = 60


def drop(**options: Any) -> gr.Image:
    """Upload, camera or clipboard: gives the upload's name here and the file's name there; nothing is opened.

    Not a subclass of `gr.Image`: for those Gradio writes a .pyi file into this package.
    """
    image = gr.Image(**options)

    async def as_it_is(path: Any) -> Any:  # Gradio would open it, or fetch it: it is no path but a name
        return path

    setattr(image, "preprocess", lambda payload: payload and (payload.path or "", payload.orig_name or ""))  # noqa: B010
    setattr(image, "async_move_resource_to_block_cache", as_it_is)  # noqa: B010
    return image


def session_of(shop: Shop, request: gr.Request) -> Session:
    return shop.sessions.open(request.cookies.get(COOKIE))


def take(words: Words, session: Session, which: str, upload: Path, name: str) -> None:
    """Read a picture, look for faces in it, and keep it as the session's portrait."""
    name = name[-LONGEST_NAME:] or words("your_picture")
    found = Portrait(name, [], [])
    try:
        image = fm.read_picture(upload, max_pixels=MAX_PIXELS, name=name)
        faces = fm.find_faces(image)
        if not faces.faces:
            found.error = words("no_face", name=name)
        for face in faces.faces:
            path = session.new_file(".png")
            if len(faces.faces) == 1 and not faces.quarter_turns:
                path = path.with_suffix(upload.suffix)
                shutil.copyfile(upload, path)
            else:
                Image.fromarray(face.surroundings).save(path)
            found.files.append(path)
            found.faces.append(face.aligned)
        found.quarter_turns = faces.quarter_turns
    except FacemorphError:
        limits = {"megapixels": MAX_PIXELS // 10**6, "megabytes": MAX_UPLOAD_BYTES >> 20}
        found.error = words("bad_image", name=name, **limits)
    with session.lock:
        for old in session.portraits[which].files if which in session.portraits else ():
            remove(old)
        session.portraits[which], session.landmarks = found, None


def choose(session: Session, which: str, number: int) -> None:
    """Take another of the faces that were found."""
    with session.lock:
        one = session.portraits.get(which)
        if one and 0 <= number < len(one.files) and number != one.chosen:
            one.chosen, one.projection, session.landmarks = number, None, None


def ready(session: Session) -> bool:
    return len(session.chosen_files) == 2


def project_both(shop: Shop, session: Session, preset: str) -> Callable[[Job], None]:
    """The long work: both portraits in the network. What is done is kept."""

    def work(job: Job) -> None:
        with session.lock:
            portraits = {which: session.portraits[which] for which in ("first", "second")}
        todo = [one for one in portraits.values() if one.projection is None or one.preset != preset]
        job.tell(0, None)
        if todo:
            images = [fm.read_picture(one.file) for one in todo]
            made = shop.network.project(images, preset=preset, progress=job.tell)
            for one, projection in zip(todo, made, strict=True):
                one.projection, one.preset = projection, preset

    return work
