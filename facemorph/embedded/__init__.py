"""What the package brings along: the generator faces-128 and its encoder (docs/faces-128.md). Knows files alone.

Each file is named NETWORK or NETWORK-PART, and belongs to the generator whose fingerprint is in `NETWORKS`.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
FACES_128 = "faces-128"
NETWORKS = {FACES_128: "70ded229e06dbf25c9435034c9e48ab5b7b86094eecc08cbb5e3e006d7cf79dc"}


def embedded_path(network: str, part: str = "") -> Path:
    """Where a network of `NETWORKS`, or a part that belongs to it ("encoder"), lies."""
    return FOLDER / (f"{network}-{part}.safetensors" if part else f"{network}.safetensors")


def find(fingerprint: str, part: str) -> Path | None:
    """The part that belongs to a generator, by its fingerprint; None where it is none of ours."""
    names = [name for name, known in NETWORKS.items() if known == fingerprint]
    return embedded_path(names[0], part) if names else None
