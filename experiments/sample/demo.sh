#!/bin/sh
# The main job on the embedded sample, both papers. No download.
set -eu
folder=${1:-demo}
configs=$(cd "$(dirname "$0")/../../configs" && pwd)
script=$(cd "$(dirname "$0")" && pwd)/make_clips.py
mkdir -p "$folder" && cd "$folder"

say() { printf '\n$ %s\n' "$*"; "$@"; }
say python "$script" -o clips --seconds 40

# 2024: two portraits through the generator inside the package, and their children
say facemorph morph clips/grace_hopper.jpg clips/eileen_collins.jpg --overwrite
say facemorph child clips/eileen_collins.jpg clips/grace_hopper.jpg --children 3 --ages 5 20 60 --overwrite

# 2018: two clips, a DCGAN, a walk from one person to the other
say facemorph extract clips/grace_hopper.mp4 clips/eileen_collins.mp4
say facemorph align frames/grace_hopper frames/eileen_collins
say facemorph train --config "$configs/demo.yaml"
say facemorph plot-loss run
say facemorph walk run --from-person grace_hopper --to-person eileen_collins --measure

here=$(pwd)
cat <<END

Done. Look at
  $here/morphs/grace_hopper-eileen_collins/strip.png   (morph.gif, morph.mp4: through the latent space)
  $here/children/eileen_collins-grace_hopper/sheet.png (growing.gif: a child growing up)
  $here/run/walks/grace_hopper-to-eileen_collins.png   (.gif, .mp4: the walk from one to the other)
  $here/run/loss.png                                   (the losses and the loss verdict)
  $here/run/samples/                                   (generated on the way; run/real.png: real faces)
  $here/faces/                                         (the aligned faces, and contact sheets)
END
