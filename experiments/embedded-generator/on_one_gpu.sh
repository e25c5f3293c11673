#!/usr/bin/env bash
# The 256-px network on a machine with one GPU, no network and ten minutes for a command: trains, then leaves in $OUT what
# is needed to use it and to go on another day, in parts of 15 MiB (bring_home.py).
#
#     CARRIED=$HOME/a:$HOME/b OUT=$OUT experiments/embedded-generator/on_one_gpu.sh $HOME/0/faces-0.pack $HOME/1/faces-1.pack
#
# What CARRIED names comes from benchmarks/gpu_carry.sh, with PACKS=FOLDER the packs too. More words go to train-generator:
# --from FOLDER to go on from what was brought home. TRAIN is the seconds of training: beside it the command takes about a
# minute to start and to write figures, and what is not done at LIMIT is told to save and stop.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} run=${RUN:-$HOME/run-256}
out=$(mkdir -p "${OUT:-.}" && cd "${OUT:-.}" && pwd)
[ -z "${CARRIED:-}" ] || source benchmarks/carried.sh "$HOME/site"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
timeout -s TERM -k 20 "${LIMIT:-550}" "$python" -m facemorph train-generator "$@" --config "${CONFIG:-generator-256.yaml}" \
  --set "training.seconds=${TRAIN:-450}" -o "$run" 2>&1 | tee "$out/log.txt"
"$python" experiments/embedded-generator/bring_home.py "$run" "$out" 2>&1 | tee -a "$out/log.txt"
