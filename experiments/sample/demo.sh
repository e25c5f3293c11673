#!/bin/sh
# The main job on the embedded sample: two portraits brought to life, then the five commands. No download.
set -eu
folder=${1:-demo}
configs=$(cd "$(dirname "$0")/../../configs" && pwd)
script=$(cd "$(dirname "$0")" && pwd)/make_clips.py
mkdir -p "$folder" && cd "$folder"

say() { printf '\n$ %s\n' "$*"; "$@"; }
say python "$script" -o clips --seconds 40
say facemorph extract clips/grace_hopper.mp4 clips/eileen_collins.mp4
say facemorph align frames/grace_hopper frames/eileen_collins
say facemorph train --config "$configs/demo.yaml"
say facemorph plot-loss run
say facemorph walk run --from-person grace_hopper --to-person eileen_collins --measure

here=$(pwd)
cat <<END

Done. Look at
  $here/run/walks/grace_hopper-to-eileen_collins.png   (.gif, .mp4: the walk from one to the other)
  $here/run/loss.png                                   (is the run healthy?)
  $here/run/samples/                                   (what it drew on the way; run/real.png is what it learnt from)
  $here/faces/                                         (the aligned faces, and contact sheets)
END
