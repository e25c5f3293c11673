"""Visitors of the web page, many at once, on this machine: is anything lost, does memory stay flat, is a file left?

    python benchmarks/web_load.py --visitors 50 --seconds 120

Each takes both examples, makes a quick family once, then moves sliders, with a second's rest between, and at the end
opens the page anew, where all of it must be there again. Loopback only. `--at` and `--process` for a page that runs.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from machine import describe_machine
from web_server import served

IMAGES = 10  # that a page shows when all is made: both faces, both parents twice, four children


def function_of(config: dict[str, Any], element: str) -> int:
    """The number of the function that an element's event calls; "" for that of the page when it is opened."""
    if not element:
        return next(one["id"] for one in config["dependencies"] if any(what == "load" for _, what in one["targets"]))
    ids = {one["id"] for one in config["components"] if one.get("props", {}).get("elem_id") == element}
    return next(one["id"] for one in config["dependencies"] if any(target[0] in ids for target in one["targets"]))


async def queued(client: httpx.AsyncClient, function: int, data: list[Any], session: str) -> str:
    """Join the queue and wait for the end: all that was shown, as text."""
    body = {"data": data, "fn_index": function, "session_hash": session}
    (await client.post("gradio_api/queue/join", json=body)).raise_for_status()
    shown = ""
    async with client.stream("GET", "gradio_api/queue/data", params={"session_hash": session}, timeout=600) as stream:
        async for line in stream.aiter_lines():
            message = json.loads(line[6:]) if line.startswith("data: ") else {}
            shown += json.dumps(message)
            if message.get("msg") == "process_completed":
                if not message["success"]:
                    raise RuntimeError("a function failed")
                return shown
    raise RuntimeError("the stream ended early")


async def visitor(
    address: str, number: int, until: float, times: dict[str, list[float]], places: list[int], lost: list[str]
) -> None:
    name, chance = f"visitor{number}", random.Random(number)
    async with httpx.AsyncClient(base_url=f"{address}/en/", timeout=120) as client:
        try:
            (await client.get("")).raise_for_status()
            config = (await client.get("config")).json()
            steps = [("example", "example-first", []), ("example", "example-second", []), ("family", "go", ["instant"])]
            for kind, element, data in steps:
                began = time.perf_counter()
                shown = await queued(client, function_of(config, element), data, f"{name}{element}".replace("-", ""))
                times.setdefault(kind, []).append(time.perf_counter() - began)
                if "data:image/jpeg" not in shown:
                    raise RuntimeError(f"nothing came of {element}")
                places += [int(one) for one in re.findall(r"In the queue: (\d+) ahead of you", shown)[:1]]
            age = 10
            while time.monotonic() < until:
                began = time.perf_counter()
                age = chance.randint(3, 75)
                data = [4, age, 0, chance.random(), chance.randint(0, 50)]
                body = {"data": data, "fn_index": function_of(config, "age"), "session_hash": name}
                answer = await client.post("gradio_api/run/predict", json=body)
                if answer.status_code != 200 or answer.json()["data"][0].count("data:image/jpeg") != 4:
                    raise RuntimeError(f"a slider lost its children: {answer.status_code}")
                times.setdefault("slider", []).append(time.perf_counter() - began)
                await asyncio.sleep(1)
            began = time.perf_counter()
            shown = await queued(client, function_of(config, ""), [], f"{name}again")
            times.setdefault("refresh", []).append(time.perf_counter() - began)
            images = shown.count("data:image/jpeg")
            if f"{age} years" not in shown or images < IMAGES:
                raise RuntimeError(f"a refresh lost something: {images} images, of {age} years")
        except Exception as error:  # counted: nothing may be lost
            lost.append(f"{name}: {error!r}")


def memory_mb(process: int) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[0]) >> 10


async def load(address: str, process: int, visitors: int, seconds: float) -> list[str]:
    times: dict[str, list[float]] = {}
    lost: list[str] = []
    places: list[int] = []
    memory = [memory_mb(process)]
    began = time.monotonic()
    tasks = [
        asyncio.create_task(visitor(address, one, began + seconds, times, places, lost)) for one in range(visitors)
    ]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(5)
        memory.append(memory_mb(process))
        counts = ", ".join(f"{kind} {len(found)}" for kind, found in times.items())
        print(f"{memory[-1]} MB; done: {counts}; lost {len(lost)}", file=sys.stderr, flush=True)
    for kind, found in times.items():
        ordered = sorted(found)
        p95 = ordered[int(0.95 * (len(ordered) - 1))]
        print(f"{kind}: {len(found)}, median {1000 * statistics.median(found):.0f} ms, 95 % within {1000 * p95:.0f} ms")
    print(f"It took {time.monotonic() - began:.0f} s.")
    print(f"Shown their place in the queue: {len(places)}; the last had {max(places, default=0)} ahead")
    print(f"Memory, MB every 5 s: {memory}")
    print(f"Lost: {len(lost)} {lost[:3]}")
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--at", help="address of a page that runs already, on this machine")
    parser.add_argument("--process", type=int, help="number of its process")
    chosen = parser.parse_args()
    print(describe_machine())
    if chosen.at:
        sys.exit(bool(asyncio.run(load(chosen.at, chosen.process, chosen.visitors, chosen.seconds))))
    with tempfile.TemporaryDirectory() as scratch:
        with served(scratch) as (address, process):
            lost = asyncio.run(load(address, process, chosen.visitors, chosen.seconds))
        left = list(Path(scratch).rglob("*"))
        print(f"Files left: {len(left)} {left[:3]}")
    sys.exit(bool(lost or left))


if __name__ == "__main__":
    main()
