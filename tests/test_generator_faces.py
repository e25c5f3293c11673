"""The faces that a generator is trained on: folders of align, packs, arrays; which are held out."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generator_runs import toy_faces
from PIL import Image

from facemorph.errors import InputError
from facemorph.files import write_jsonl
from facemorph.images import write_image
from facemorph.stylegan.training.config import Data
from facemorph.stylegan.training.faces import load_faces


def aligned_folder(folder: Path, crop: str, count: int, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    rows = [{"settings": {"crop": crop, "size_px": 16}, "from": "x"}]
    for number, face in enumerate(toy_faces(count, seed=seed)):
        write_image(folder / f"{number}.png", face)
        rows.append({"source": f"{number}.jpg", "status": "accepted", "file": f"{number}.png"})
    write_jsonl(folder / "manifest.jsonl", rows)
    return folder


def test_folders_of_align_bring_their_crop(tmp_path: Path) -> None:
    aligned_folder(tmp_path / "faces" / "anna", "paper", 6)
    aligned_folder(tmp_path / "faces" / "ben", "paper", 6, seed=1)
    found = load_faces(Data(faces=(str(tmp_path / "faces"),), hold_out=0.25), 16, 0)
    assert found.crop == "paper" and len(found.images) == 9 and len(found.held) == 3
    again = load_faces(Data(faces=(str(tmp_path / "faces"),), hold_out=0.25), 16, 0)
    assert found.digest == again.digest
    assert load_faces(Data(faces=(str(tmp_path / "faces"),), hold_out=0.25), 16, 1).digest != found.digest
    aligned_folder(tmp_path / "faces" / "carl", "ffhq", 2)
    with pytest.raises(InputError, match=r"have different crops: paper \(.*ffhq \("):
        load_faces(Data(faces=(str(tmp_path / "faces"),)), 16, 0)


def test_whole_persons_are_held_out_where_there_are_many(tmp_path: Path) -> None:
    for number in range(20):
        aligned_folder(tmp_path / f"{number:02d}", "eyes", 2, seed=number)
    found = load_faces(Data(faces=(str(tmp_path),), hold_out=0.1), 16, 0)
    assert len(found.held) == 4 and len(found.images) == 36
    by_hand = load_faces(Data(faces=(str(tmp_path / "00"),), held_out=(str(tmp_path / "01"),)), 16, 0)
    assert len(by_hand.held) == 2 and len(by_hand.images) == 2


def write_pack(path: Path, faces: np.ndarray) -> None:
    blobs = []
    for face in faces:
        file = io.BytesIO()
        Image.fromarray(face).save(file, "WEBP", lossless=True)
        blobs.append(file.getvalue())
    lengths = np.array([len(blob) for blob in blobs], "<u4").tobytes()
    path.write_bytes(len(blobs).to_bytes(4, "little") + lengths + b"".join(blobs))


def test_packs_are_read_and_broken_ones_are_told(tmp_path: Path) -> None:
    faces = toy_faces(8)
    write_pack(tmp_path / "faces.pack", faces)
    data = Data(faces=(str(tmp_path / "faces.pack"),), crop="ffhq", hold_out=0.0)
    found = load_faces(data, 16, 0)
    assert np.array_equal(found.images, faces.transpose(0, 3, 1, 2)) and found.crop == "ffhq"
    assert load_faces(replace(data, limit=3), 8, 0).images.shape == (3, 3, 8, 8)
    with pytest.raises(InputError, match=r"is unknown(.|\n)*--set data\.crop=eyes"):
        load_faces(replace(data, crop="auto"), 16, 0)
    raw = (tmp_path / "faces.pack").read_bytes()
    for broken in (raw[:-1], raw[:3], b"", b"\xff" * 40):
        (tmp_path / "broken.pack").write_bytes(broken)
        with pytest.raises(InputError, match="is no pack of faces, or is cut short"):
            load_faces(replace(data, faces=(str(tmp_path / "broken.pack"),)), 16, 0)
    np.save(tmp_path / "grey.npy", faces[..., 0])
    with pytest.raises(InputError, match=r"uint8 \[N, H, H, 3\] was expected"):
        load_faces(replace(data, faces=(str(tmp_path / "grey.npy"),)), 16, 0)
    with pytest.raises(InputError, match=r"does not exist \(data\.faces\)"):
        load_faces(replace(data, faces=("nowhere",)), 16, 0)
