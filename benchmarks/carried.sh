# To be sourced from the repository's root: puts the folders that gpu_carry.sh made, CARRIED=a:b, where Python finds what is
# in them. Wheels are unpacked into $1.
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
for folder in ${CARRIED//:/ }; do
  find "$folder" -name '*.whl' -exec "${PYTHON:-python3}" -m pip install --quiet --no-index --no-deps --no-compile --target "$1" {} +
  PYTHONPATH=$PYTHONPATH:$(cd "$folder" && pwd)
done
PYTHONPATH=$PYTHONPATH:$1
