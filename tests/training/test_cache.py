# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import multiprocessing
import shutil

import numpy as np
import pytest

from transformers_ov2.codec import CodecStreamConfig, VideoError, tokenize_video
from transformers_ov2.training import CodecStreamCache
from transformers_ov2.training import cache as cache_module
from transformers_ov2.training.cache import CorruptEntryError, read_stream, write_stream


CONFIG = CodecStreamConfig(target_canvas=4, max_pixels=56 * 56)


@pytest.fixture
def cache(tmp_path):
    return CodecStreamCache(tmp_path / "cache")


@pytest.fixture
def tokenized(monkeypatch):
    """Names of the videos that were tokenized, in order."""
    names = []

    def count(source, *args, **kwargs):
        names.append(source.name)
        return tokenize_video(source, *args, **kwargs)

    monkeypatch.setattr(cache_module, "tokenize_video", count)
    return names


def entries(cache):
    return sorted(cache.folder.rglob("*.safetensors"))


def assert_equal(first, second):
    for field in dataclasses.fields(first):
        if field.name != "timings":
            np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
            assert np.asarray(getattr(first, field.name)).dtype == np.asarray(getattr(second, field.name)).dtype


def test_a_cached_stream_is_the_tokenized_one(cache, media, tokenized):
    fresh = cache.get(media / "0.mp4", CONFIG)
    cached = cache.get(media / "0.mp4", CONFIG)
    assert len(tokenized) == 1
    assert_equal(fresh, cached)
    assert_equal(tokenize_video(media / "0.mp4", CONFIG), cached)


def test_entries_are_found_by_content(cache, media, tokenized, tmp_path):
    cache.get(media / "0.mp4", CONFIG)
    copy = shutil.copy(media / "0.mp4", tmp_path / "other.mp4")
    cache.get(copy, CONFIG)
    cache.get((media / "0.mp4").read_bytes(), CONFIG)
    assert len(tokenized) == 1
    # The same path with another content.
    shutil.copy(media / "1.mp4", copy)
    assert_equal(cache.get(copy, CONFIG), tokenize_video(media / "1.mp4", CONFIG))
    assert len(tokenized) == 2


def test_every_option_that_changes_the_stream_makes_an_entry(cache, media, tokenized):
    cache.get(media / "0.mp4", CONFIG)
    cache.get(media / "0.mp4", CONFIG.replace(num_threads=3))
    assert len(tokenized) == 1
    cache.get(media / "0.mp4", CONFIG.replace(selection="state"))
    limited = CONFIG.replace(max_tokens=200)
    cache.get(media / "0.mp4", limited)
    cache.get(media / "0.mp4", limited, lambda seconds: 5)
    cache.get(media / "0.mp4", limited, lambda seconds: 5)
    assert len(tokenized) == 4 and len(entries(cache)) == 4


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def other_file(path):
    from safetensors.numpy import save_file

    save_file({"canvases": np.zeros(3)}, path)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, other_file])
def test_a_damaged_entry_is_made_again(cache, media, tokenized, damage):
    fresh = cache.get(media / "0.mp4", CONFIG)
    (path,) = entries(cache)
    damage(path)
    with pytest.raises(CorruptEntryError):
        read_stream(path)
    assert_equal(cache.get(media / "0.mp4", CONFIG), fresh)
    assert len(tokenized) == 2
    assert_equal(read_stream(path), fresh)


def test_an_interrupted_write_leaves_nothing(cache, media, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_module.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.get(media / "0.mp4", CONFIG)
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == []


def test_unreadable_videos_leave_nothing(cache, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError):
        cache.get(tmp_path / "a.mp4", CONFIG)
    assert not cache.folder.exists()


def _write(path, stream):
    for _ in range(20):
        write_stream(path, stream)


def test_processes_may_write_the_same_entry(media, tmp_path):
    stream = tokenize_video(media / "0.mp4", CONFIG)
    path = tmp_path / "entry.safetensors"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, stream)) for _ in range(3)]
    write_stream(path, stream)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert_equal(read_stream(path), stream)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert [item.name for item in tmp_path.iterdir()] == ["entry.safetensors"]
