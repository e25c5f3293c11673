"""A program: reads each hostile file of a folder under limits of memory and CPU time, and reports."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from hostile_files import HOSTILE

from facemorph.errors import WeightsError
from facemorph.stylegan.formats.published import read_published

MAX_MEMORY_BYTES, MAX_SECONDS = 2 << 30, 10


def main() -> None:
    folder, canary = Path(sys.argv[1]), Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    report: dict[str, Any] = {}
    for index, name in enumerate(HOSTILE):
        limit = int(time.process_time()) + MAX_SECONDS + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            read_published(folder / f"{index}.pkl")
            answer = "READ"
        except WeightsError as error:
            answer = error.problem
        report[name] = answer
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"files": report, "peak_mib": round(peak), "canary": canary.exists()}))


if __name__ == "__main__":
    main()
