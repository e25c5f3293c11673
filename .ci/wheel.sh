#!/usr/bin/env bash
# Builds the wheel, installs it with PyTorch's CPU build into a fresh environment outside the checkout, and runs
# README's four lines there, in an empty folder, on portraits that come with matplotlib and scikit-image.
#
# Without a GPU in mind README installs from https://download.pytorch.org/whl/cpu. CI cannot reach it: there, pip finds
# a CPU build of this one version on the disk. PyPI's torchvision does not import beside it, and need not: facemorph
# never imports it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
torch=(${FACEMORPH_TORCH:-torch==2.13.0 torchvision==0.28.0})
most_mb=1500

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONNOUSERSITE=1
unset PYTHONPATH
say() { printf '\n$ %s\n' "$*"; "$@"; }

"${PYTHON:-python3}" -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
say pip wheel --quiet --no-deps --wheel-dir "$work" "$root"
wheel=$(echo "$work"/facemorph_toolkit-*.whl)
say pip install --quiet "${torch[@]}"
say pip install --quiet "$wheel"
pip check
size_mb=$(du -sm "$work/venv" | cut -f1)
echo "Installed: $size_mb MB, of which torch $(du -sm "$work"/venv/lib/python*/site-packages/torch | cut -f1) MB;" \
  "the wheel has $(du -k "$wheel" | cut -f1) KB"
[ "$size_mb" -lt "$most_mb" ] || { echo "README promises less than $most_mb MB"; exit 1; }
say pip install --quiet "$wheel[demo]" # for the second portrait
python - "$wheel" <<'END'
import sys
import zipfile

missing = {"facemorph/py.typed", "facemorph/configs/mixed.yaml"} - set(zipfile.ZipFile(sys.argv[1]).namelist())
assert not missing, f"not in the wheel: {missing}"
END

mkdir "$work/empty"
cd "$work/empty"
python - "$work/venv" <<'END'
import sys
from pathlib import Path

import facemorph
import skimage
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image

assert Path(facemorph.__file__).is_relative_to(sys.argv[1]), facemorph.__file__
print(f"\nfacemorph {facemorph.__version__}, torch {torch.__version__}")
Image.open(get_sample_data("grace_hopper.jpg")).save("a.jpg")
Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB").save("b.jpg")
END
python "$root/experiments/sample/make_clips.py" -o clips --seconds 5
mv clips/grace_hopper.mp4 video.mp4

start=$SECONDS
say facemorph extract video.mp4
say facemorph align frames/video
say facemorph train --config mixed.yaml --set training.steps=20 --set training.batch_size=8 --set network.channels=16
say facemorph plot-loss run/
say facemorph morph a.jpg b.jpg
say python -c 'import facemorph as fm; print(fm.compare("a.jpg", "b.jpg").distance)'
for made in frames/video/manifest.jsonl faces/video/manifest.jsonl run/generator.safetensors run/loss.png morphs/a-b; do
  test -s "$made" || { echo "$made is missing"; exit 1; }
done
printf '\nThe lines took %d s.\n' $((SECONDS - start))
