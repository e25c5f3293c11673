"""What the package brings along: the generator faces-256 and its encoder (docs/faces-256.md). Knows files alone.

Each file is named NETWORK or NETWORK-PART, and belongs to the generator whose fingerprint is in `NETWORKS`.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
FACES_256 = "faces-256"
NETWORKS = {FACES_256: "4e35e0b35e867a52bb391dac8186936c95dc807abf179423f7984002da7cef51"}


def embedded_path(network: str, part: str = "") -> Path:
    """Where a network of `NETWORKS`, or a part that belongs to it ("encoder"), lies."""
    return FOLDER / (f"{network}-{part}.safetensors" if part else f"{network}.safetensors")


def find(fingerprint: str, part: str) -> Path | None:
    """The part that belongs to a generator, by its fingerprint; None where it is none of ours."""
    names = [name for name, known in NETWORKS.items() if known == fingerprint]
    return embedded_path(names[0], part) if names else None
