"""dlib's model files, found inside the package face_recognition_models without importing it.

(Its import needs pkg_resources, which new setuptools lack.) Licences: the 68-point predictor was trained on iBUG
300-W, whose licence excludes commercial use; the detector and the descriptor network are public domain (CC0).
"""

import functools
from pathlib import Path

from facemorph.files import find_in_package

DETECTOR = "mmod_human_face_detector.dat"
LANDMARKS = "shape_predictor_68_face_landmarks.dat"
DESCRIPTOR = "dlib_face_recognition_resnet_model_v1.dat"

SHA256 = {
    DETECTOR: "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    LANDMARKS: "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    DESCRIPTOR: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}


@functools.cache
def model_path(name: str) -> Path:
    """Where the model file `name` lies, its content checked by hash.

    Raises:
        WeightsError: the package is not installed, or the file in it is not the published one.
    """
    return find_in_package("face_recognition_models", f"models/{name}", SHA256[name])
