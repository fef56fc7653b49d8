# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Reading in a child process: the same result, and every way to fail ends in `VideoError`."""

import gc
import io
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from synth import clip_bytes, make_clip, moving_frames
from test_tokenizer import assert_same

from transformers_ov2.codec import VideoError, isolation, iter_groups, tokenize_video
from transformers_ov2.codec.channel import Channel
from transformers_ov2.codec.isolation import IsolatedVideo, open_frames
from transformers_ov2.codec.reading.source import Isolation, open_source


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation needs Linux")

OPTIONS = {"target_canvas": 8}


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 40, options={"g": "20"})


def test_result_is_the_same(clip):
    options = {"return_evidence": True, **OPTIONS}
    here, there = tokenize_video(clip, **options), tokenize_video(clip, isolate=True, **options)
    assert_same(here, there)
    assert here.signal_source == there.signal_source
    for name, values in vars(here.evidence).items():
        np.testing.assert_array_equal(values, getattr(there.evidence, name))
    assert set(there.timings) == set(here.timings)


def test_kinds_of_sources(clip):
    here = tokenize_video(clip, **OPTIONS)
    for video in (clip.read_bytes(), io.BytesIO(clip.read_bytes()), open_source(str(clip), isolate=True)):
        isolate = {} if hasattr(video, "isolation") else {"isolate": True}
        assert_same(here, tokenize_video(video, **isolate, **OPTIONS))
    frames = moving_frames(8)
    assert_same(tokenize_video(frames, **OPTIONS), tokenize_video(frames, isolate=True, **OPTIONS))


def test_nothing_is_decoded_in_this_process(clip, monkeypatch):
    monkeypatch.setattr("av.open", lambda *args, **kwargs: pytest.fail("the file was opened here"))
    source = open_source(clip, isolate=True)
    assert len(source.fingerprint()) == 64
    tokenize_video(source, **OPTIONS)
    with open_frames(source) as reader:
        list(reader.images([0], 1))
    with pytest.raises(VideoError, match="read in isolation"), source.open():
        pass


def test_tokens_of_timestamps_are_counted_here(clip):
    asked = []

    def count(seconds: float) -> int:
        asked.append(seconds)
        return 40

    options = {"max_tokens": 300, "target_canvas": 8}
    here = tokenize_video(clip, timestamp_tokens=count, **options)
    asked.clear()
    there = tokenize_video(clip, timestamp_tokens=count, isolate=True, **options)
    assert asked and len(asked) == len(set(asked))
    assert_same(here, there)


def test_frames_are_the_same(clip):
    with open_frames(open_source(clip)) as here, open_frames(open_source(clip, isolate=True)) as there:
        for field in ("pts", "seconds", "size", "is_key", "decode_index", "fps"):
            np.testing.assert_array_equal(getattr(here.table, field), getattr(there.table, field))
        for field in ("name", "codec", "width", "height", "time_base", "average_rate", "pix_fmt"):
            assert getattr(here.source, field) == getattr(there.source, field)
        for _ in range(2):
            pairs = zip(here.images([3, 20, 39], 1), there.images([3, 20, 39], 2), strict=True)
            for (index, image), (other, found) in pairs:
                assert index == other
                np.testing.assert_array_equal(image, found)


def test_errors_and_warnings_come_back(clip, tmp_path):
    with pytest.raises(VideoError, match="^nonsense: not a readable video"):
        tokenize_video(open_source(b"nonsense", isolate=True, name="nonsense"))
    with pytest.raises(VideoError, match="max_source_pixels"):
        tokenize_video(open_source(clip, isolate=True, max_source_pixels=100))
    with pytest.raises(ValueError, match="does not hold") as caught:
        tokenize_video(clip, isolate=True, max_tokens=5)
    assert caught.type is ValueError
    cut = make_clip(tmp_path / "clip.mp4", 40, container_options={"movflags": "faststart"}).read_bytes()[:-2000]
    with warnings.catch_warnings(record=True) as here:
        warnings.simplefilter("always")
        tokenize_video(cut, **OPTIONS)
    with warnings.catch_warnings(record=True) as there:
        warnings.simplefilter("always")
        tokenize_video(cut, isolate=True, **OPTIONS)
    assert here and {str(each.message) for each in here} == {str(each.message) for each in there}


def test_errors_come_with_the_call(clip):
    """As without isolation, not with the first group."""
    with pytest.raises(VideoError, match="<bytes>: not a readable video"):
        iter_groups(b"nonsense", isolate=True)
    with pytest.raises(ValueError, match="open already"):
        iter_groups(open_source(clip), isolate=True)


def test_memory_is_limited():
    video = clip_bytes(moving_frames(3, 2160, 3840), options={"preset": "ultrafast"})
    with pytest.raises(VideoError, match="^<bytes>: reading took more than 16 MiB of memory"):
        tokenize_video(video, isolate=Isolation(memory_bytes=2**24), **OPTIONS)
    tokenize_video(video, isolate=True, **OPTIONS)


def test_time_is_limited(clip):
    start = time.monotonic()
    # Less than any answer takes, whichever of the two processes has the processor.
    with pytest.raises(VideoError, match="longer than 0.0001 seconds, the limit of its isolation"):
        tokenize_video(clip, isolate=Isolation(seconds=0.0001))
    assert time.monotonic() - start < 5


def test_time_of_the_caller_does_not_count(clip):
    groups = iter_groups(clip, isolate=Isolation(seconds=20), images_per_group=2, **OPTIONS)
    next(groups)
    groups_left = 0
    # A limit that is over by now, had it run on.
    groups.gi_frame.f_locals["video"]._seconds_left -= 15
    for _ in groups:
        groups_left += 1
    assert groups_left == 3


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", "died with status -6"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died with status -11"),
        ("raise SystemError('broken')", r"died with status 1 \(SystemError: broken\)"),
        # It waits for the request: gone before that is sent, it would have died.
        ("import sys; sys.stdin.read(1); sys.stdout.write('no message' * 10)", "sent what is no message"),
        ("import time; time.sleep(60)", "longer than 1 seconds"),
    ],
)
def test_children_that_fail(clip, code, message, monkeypatch):
    monkeypatch.setattr(isolation, "_START", code)
    with pytest.raises(VideoError, match=f"clip.mp4: .*{message}"):
        tokenize_video(clip, isolate=Isolation(seconds=1 if "sleep" in code else 60))


@pytest.mark.parametrize("shapes", [[["|O", [1]]], [["<f8", [2**40]]], [["<i8", [-1]]], [["<i8,<i8", [1]]], 3])
def test_messages_that_claim_too_much(shapes):
    data = b"".join(len(part).to_bytes(8, "little") + part for part in (b"{}", str(shapes).replace("'", '"').encode()))
    with pytest.raises((ValueError, TypeError)):
        Channel(io.BytesIO(data), io.BytesIO(), 2**20).receive()


def test_child_is_small_and_ends(clip):
    with IsolatedVideo(open_source(clip, isolate=True)) as video:
        pid = video._child.pid
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "libav" in maps and "torch" not in maps
    assert not Path(f"/proc/{pid}").exists()
    groups = iter_groups(clip, isolate=True, **OPTIONS)
    del groups  # never started
    groups = iter_groups(clip, isolate=True, **OPTIONS)
    next(groups)
    groups.close()
    gc.collect()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [child for child in children if "transformers_ov2" in Path(f"/proc/{child}/cmdline").read_text()]


def test_script_without_a_main_guard(clip):
    """As in notebooks: there is no module that a child could import."""
    code = f"""
        import sys
        from transformers_ov2.codec import tokenize_video
        print(len(tokenize_video({str(clip)!r}, isolate=True, target_canvas=4).canvases), "torch" in sys.modules)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-"], input=textwrap.dedent(code), capture_output=True, text=True, env=environment
    )
    assert result.stdout.split() == ["4", "False"], result.stderr


def _tokenize_in_a_worker(path, queue):
    queue.put(len(tokenize_video(path, isolate=True, **OPTIONS).canvases))


def test_in_a_daemonic_worker(clip):
    """Workers of data loaders may have no children of `multiprocessing`'s."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_tokenize_in_a_worker, args=(clip, queue), daemon=True)
    worker.start()
    assert queue.get(timeout=60) == 8
    worker.join()


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"memory_bytes": -1}])
def test_limits_are_positive(limits):
    with pytest.raises(ValueError, match="of `isolate` must be a positive number"):
        Isolation(**limits)
