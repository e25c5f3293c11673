"""What each group of layers that children inherit decides, on faces-256's own faces: python layers.py

Of 40 pairs of faces one has a group of its layers exchanged for the other's. Printed is the change as a fraction of
exchanging all layers, the mean over the pairs: of dlib's descriptor, of the landmarks, and of the colours (means over
squares of 16 px).
"""

import numpy as np

import facemorph as fm
from facemorph.embedded import FACES_256
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.locate import locate_face
from facemorph.stylegan.editing.mixing import layer_groups

PAIRS, SQUARE_PX = 40, 16


def look(images: np.ndarray) -> list[np.ndarray]:
    """Descriptors [N, 128], landmarks [N, 136] and colours [N, -1] of images uint8 [N, H, H, 3]."""
    points = [locate_face(image).landmarks for image in images]
    n, side = images.shape[:2]
    squares = images.reshape(n, side // SQUARE_PX, SQUARE_PX, side // SQUARE_PX, SQUARE_PX, 3).mean((2, 4))
    chips = [face_chip(*one) for one in zip(images, points, strict=True)]
    return [describe(chips), np.stack(points).reshape(n, -1), squares.reshape(n, -1)]


def main() -> None:
    network = fm.Network(FACES_256)
    w = network.draw(range(2 * PAIRS))
    first, second = w[:PAIRS], w[PAIRS:]
    before, whole = look(network.render(first)), look(network.render(second))
    print("layers       descriptor  landmarks  colours")
    for group in layer_groups(w.shape[1]):
        mixed = first.copy()
        mixed[:, group] = second[:, group]
        after = look(network.render(mixed))
        shares = [
            np.linalg.norm(one - old, axis=1).mean() / np.linalg.norm(all_ - old, axis=1).mean()
            for one, old, all_ in zip(after, before, whole, strict=True)
        ]
        print(f"{group.start:2} to {group.stop - 1:2}" + "".join(f"{share:12.2f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
