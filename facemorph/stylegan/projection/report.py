"""How good a reconstruction is, in figures, from the two images alone."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from facemorph.errors import FaceError, WeightsError
from facemorph.faces.descriptors import SAME_PERSON, describe, face_chip
from facemorph.faces.locate import locate_face
from facemorph.images import to_tensor
from facemorph.metrics.image_quality import ms_ssim, psnr
from facemorph.metrics.lpips import SMALLEST_PX, Lpips, load_lpips

LPIPS_PX = 256  # LPIPS is taken at this side at most, as VGG16 was trained at 224


def figures(
    target: np.ndarray,
    made: np.ndarray,
    points: np.ndarray | None = None,
    lpips: Lpips | None = None,
    chip: np.ndarray | None = None,
) -> dict[str, Any]:
    """PSNR, MS-SSIM, LPIPS and descriptor distances of two images, uint8 RGB [R, R, 3].

    What could not be measured is None, with a reason beside it. `points` are the landmarks [68, 2] of the face in
    `target`; `lpips` is loaded where it is not given and its weights are here. "descriptor_distance" is to `target`,
    "descriptor_distance_to_photograph" to dlib's `chip` [150, 150, 3] of the photograph before it was aligned and
    reduced to the network's resolution, which no term of a loss sees.
    """
    first, second = to_tensor(target[None]), to_tensor(made[None])
    ratio = float(psnr(first, second)[0])
    found: dict[str, Any] = {
        "psnr_db": round(ratio, 3) if np.isfinite(ratio) else None,
        "ms_ssim": round(float(ms_ssim(first, second)[0]), 5),
    }
    return found | _lpips(first, second, lpips) | _descriptor_distance(target, made, points, chip)


@torch.no_grad()
def _lpips(first: torch.Tensor, second: torch.Tensor, lpips: Lpips | None) -> dict[str, Any]:
    side = first.shape[2]
    if side < SMALLEST_PX:
        return {"lpips": None, "lpips_reason": f"images of {side} px are too small for VGG16"}
    if lpips is None:
        try:
            lpips = load_lpips()
        except WeightsError as error:
            return {"lpips": None, "lpips_reason": error.problem}
    device, factor = lpips.shift.device, max(1, side // LPIPS_PX)
    first, second = (F.avg_pool2d(x, factor).to(device) for x in (first, second))
    return {"lpips": round(float(lpips(first, second)[0]), 5)}


def _descriptor_distance(
    target: np.ndarray, made: np.ndarray, points: np.ndarray | None, chip: np.ndarray | None
) -> dict[str, Any]:
    if points is None:
        return {"descriptor_distance": None, "descriptor_reason": "no face was found in the image"}
    try:
        others = locate_face(made, "the reconstruction").landmarks
    except FaceError:
        return {"descriptor_distance": None, "descriptor_reason": "no face was found in the reconstruction"}
    chips = [face_chip(made, others), face_chip(target, points), *([] if chip is None else [chip])]
    first, *rest = describe(chips)
    names = ("descriptor_distance", "descriptor_distance_to_photograph")
    return {name: round(float(np.linalg.norm(first - one)), 4) for name, one in zip(names, rest, strict=False)}


def summary(folder: Path) -> str:
    """A finished projection in a line: image distance and descriptor distance."""
    report = read_report(folder) or {}
    parts = [f"PSNR {report['psnr_db']:.1f} dB"] if report.get("psnr_db") else []
    parts += [f"LPIPS {report['lpips']:.2f}"] if report.get("lpips") is not None else []
    far = report.get("descriptor_distance_to_photograph", report.get("descriptor_distance"))
    if far is not None:
        how = "optimised for; " if report.get("identity_optimised") else ""
        parts.append(f"descriptor distance {far:.2f} ({how}{SAME_PERSON}: the same person)")
    return ", ".join(parts)


def peak_memory_mib(device: torch.device) -> int | None:
    """The most memory so far: of the device, or on a CPU of the whole process; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 20 if sys.platform == "darwin" else peak >> 10


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a finished projection; None where there is none, or it was cut short."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return report if isinstance(report, dict) and (folder / "latent.safetensors").is_file() else None
    except (OSError, ValueError):
        return None
