# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Flipped and cut bytes of real and synthesised clips: a result or `VideoError`, in time, without a crash or a
leaked file handle.

The cases run in child processes, so that a crash of the process is seen and named. Repeat one case with
`PYTHONPATH=tests/codec python tests/codec/reading/test_fuzz.py SEED FIRST LAST`.
"""

import os
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from synth import clip_bytes, moving_frames, real_clip
from test_tokenizer import assert_same

from transformers_ov2.codec import tokenize_video
from transformers_ov2.codec.reading.decoding import decode_frames
from transformers_ov2.codec.reading.packets import read_packets
from transformers_ov2.codec.reading.source import VideoError, open_source


NUM_CASES = 640
BATCH = 160
SECONDS_PER_CASE = 20
# A fixed seed by default, so that CI fails for a change and not for the weather; set it to explore.
SEED = int(os.environ.get("OV2_FUZZ_SEED", "20260101"))


def make_corpus() -> list[bytes]:
    small = moving_frames(24, 48, 64)
    corpus = [real_clip(name).read_bytes() for name in ("carphone_distorted", "carphone_pristine", "bikes")]
    corpus += [
        clip_bytes(small, "libx264", fmt, options={"x264-params": "keyint=8:bframes=2"})
        for fmt in ("mp4", "mov", "matroska", "mpegts", "flv", "avi", "h264")
    ]
    corpus.append(clip_bytes(small, "libx264", "mp4", container_options={"movflags": "frag_keyframe+empty_moov"}))
    corpus += [
        clip_bytes(small, "libx265", fmt, options={"x265-params": "keyint=8:log-level=none"})
        for fmt in ("mp4", "matroska")
    ]
    corpus.append(clip_bytes(small, "libvpx-vp9", "webm", options={"deadline": "realtime", "cpu-used": "8"}))
    corpus.append(clip_bytes(small, "libsvtav1", "mp4", options={"preset": "12"}))
    corpus += [clip_bytes(small, "mpeg4", fmt, options={"bf": "2"}) for fmt in ("avi", "mp4")]
    corpus.append(clip_bytes(small, "mjpeg", "avi", pix_fmt="yuvj420p"))
    corpus.append(clip_bytes(small, "mpeg2video", "mpeg"))
    corpus.append(clip_bytes(small, "gif", "gif", pix_fmt="rgb8"))
    return corpus


def damage(video: bytes, rng: np.random.Generator) -> bytes:
    """Flips bytes, mostly few and often in the header, cuts the file, or removes, doubles or blanks a piece of it."""
    data = np.frombuffer(video, np.uint8).copy()
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(6)
        region = min(len(data), 4096) if rng.random() < 0.5 else len(data)
        start = len(data) - region if rng.random() < 0.3 else 0  # the index of an mp4 is at its end
        position = start + int(rng.integers(region))
        length = int(rng.integers(1, 200))
        if kind <= 1:
            places = start + rng.integers(region, size=int(rng.choice([1, 4, 32])))
            data[places] = rng.integers(256, size=len(places))
        elif kind == 2:
            data = data[: max(1, position)]
        elif kind == 3:
            data = np.delete(data, slice(position, position + length))
        elif kind == 4:
            data = np.insert(data, position, data[position : position + length])
        else:
            data[position : position + length] = rng.choice([0, 255])
        if not len(data):
            break
    return data.tobytes()


def run_case(video: bytes, rng: np.random.Generator, file: Path) -> str:
    """One damaged clip through the whole front: as bytes or as a file, with one thread or two, everything asked
    for."""
    options = {"side_data": bool(rng.integers(2)), "num_threads": int(rng.integers(1, 3))}
    if rng.integers(2):
        options["size"] = (28, 56)
    if rng.integers(2):
        file.write_bytes(video)
        video = file
    try:
        source = open_source(video, max_source_pixels=2**22, max_source_frames=2**14)
        table = read_packets(source)
        assert table.num_frames > 0 and np.isfinite(table.seconds).all() and (np.diff(table.seconds) >= 0).all()
        indices = np.unique(rng.integers(table.num_frames, size=12))
        previous = -1
        for frame in decode_frames(source, table, indices, **options):
            assert frame.index > previous and frame.index in indices
            previous = frame.index
            assert frame.image.shape == (*options.get("size", (source.height, source.width)), 3)
    except VideoError as error:
        return f"VideoError {str(error).split(': ', 1)[-1]}"
    return "read" if previous >= 0 else "nothing"


def main(seed: int, first: int, last: int) -> None:
    warnings.simplefilter("ignore")
    corpus = make_corpus()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.bin"
        handles = None
        for case in range(first, last):
            print(f"case {case}", flush=True)
            rng = np.random.default_rng([seed, case])
            outcome = run_case(damage(corpus[rng.integers(len(corpus))], rng), rng, file)
            print(f"done {outcome}", flush=True)
            if case == first + 2:
                handles = count_handles()
        assert handles is None or count_handles() <= handles, f"leaked file handles: {handles} -> {count_handles()}"
        assert threading.active_count() == 1, "leaked threads"


def count_handles() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.parametrize("first", range(0, NUM_CASES, BATCH))
@pytest.mark.timeout(BATCH * SECONDS_PER_CASE)
def test_damaged_clips(first):
    print(f"seed {SEED}, cases {first} to {first + BATCH - 1}")
    command = [sys.executable, __file__, str(SEED), str(first), str(first + BATCH)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))
    reader.start()
    case, outcomes, hung = "start", [], []
    watchdog = None
    for line in child.stdout:
        if watchdog is not None:
            watchdog.cancel()
        if line.startswith("case"):
            case = line.strip()
        else:
            outcomes.append(line[5:].split()[0])
        watchdog = threading.Timer(SECONDS_PER_CASE, lambda case=case: (hung.append(case), child.kill()))
        watchdog.start()
    code = child.wait()
    if watchdog is not None:
        watchdog.cancel()
    reader.join()
    where = f"seed {SEED}, {case}\n{errors[0][-3000:]}"
    assert not hung, f"no answer within {SECONDS_PER_CASE} seconds: {where}"
    assert code == 0, f"exit status {code} (negative: killed by that signal): {where}"
    assert len(outcomes) == BATCH
    # Damage of this kind leaves many clips readable and makes some unreadable; one kind alone would say that
    # nothing was tested.
    assert outcomes.count("read") > BATCH // 4
    assert outcomes.count("VideoError") > 0


@pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")
def test_damaged_clips_end_as_they_do_without():
    """The same stream or the same message."""
    clips, outcomes = [clip_bytes(40, fmt=fmt) for fmt in ("mp4", "mpegts")], []
    for case in range(4):
        video = damage(clips[case % 2], np.random.default_rng(case))
        found = []
        for isolate in (False, True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found.append(tokenize_video(video, isolate=isolate, target_canvas=8))
                except VideoError as error:
                    found.append(str(error))
        outcomes.append(type(found[0]))
        if isinstance(found[0], str):
            assert found[0] == found[1]
        else:
            assert_same(*found)
    assert len(set(outcomes)) == 2


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
