# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synth import moving_frames

from transformers_ov2.codec import CodecStream, VideoError, tokenize_video
from transformers_ov2.codec.packing.assets import read_assets, write_assets


FIXTURES = Path(__file__).parents[2] / "fixtures" / "codec"
ARRAYS = ("canvases", "patch_positions", "groups", "canvases_per_group", "frame_ids", "timestamps")


@pytest.fixture
def reference_folder(tmp_path):
    """A folder as `cv-preinfer` lays it out: its positions, frames and meta data of a real clip, canvases of noise."""
    fixture = np.load(FIXTURES / "carphone_pristine.npz")
    meta = json.loads((FIXTURES / "carphone_pristine.json").read_text())
    rows, columns = meta["grid_hw"]
    frame_ids = fixture["frame_ids"]
    rng = np.random.default_rng(0)
    names = [f"canvas_{index:03d}.jpg" for index in range(meta["canvases"])]
    for name in names:
        noise = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((columns * 14, rows * 14)).save(tmp_path / name)
    np.save(tmp_path / "src_patch_position.npy", fixture["source_positions"].T.astype(np.int32))
    np.save(tmp_path / "frame_ids.npy", frame_ids.astype(np.int32))
    written = {
        "fps": meta["fps"],
        "patch": 14,
        "block_size": 2,
        "images_per_group": 4,
        "hb_wb": [rows, columns],
        "canvas_files": names,
        "jpg_files": names,
        "groups": [{"frame_ids": frame_ids[start:end].tolist()} for start, end, _ in meta["groups"]],
    }
    (tmp_path / "meta.json").write_text(json.dumps(written))
    return tmp_path


def edit_meta(folder: Path, **changes):
    meta = json.loads((folder / "meta.json").read_text())
    meta.update(changes)
    (folder / "meta.json").write_text(json.dumps({key: value for key, value in meta.items() if value is not None}))


def test_model_inputs_of_a_reference_folder(reference_folder):
    stream = read_assets(reference_folder)
    fixture = np.load(FIXTURES / "carphone_pristine.npz")
    assert stream.grid_thw == (16, 10, 12)
    np.testing.assert_array_equal(stream.block_positions(), fixture["patch_positions_block_order"].T)
    np.testing.assert_array_equal(stream.runs(), fixture["timestamp_runs"].T)
    np.testing.assert_array_equal(stream.seconds(stream.runs()[:, 0]), fixture["timestamp_runs"][0] / stream.fps)
    assert stream.signal_shares == {"bits": 1.0}
    np.testing.assert_array_equal(stream.canvases_per_group, [4] * 4)
    np.testing.assert_array_equal(stream.groups, [[0, 33], [33, 69], [69, 94], [94, 120]])

    # Rows: blocks of 2x2 patches row by row, inside a block its patches row by row, (channel, y, x) in a patch.
    image = np.asarray(Image.open(reference_folder / "canvas_001.jpg"))
    rows = stream.patch_rows()[120:240].reshape(5, 6, 2, 2, 3, 14, 14)
    np.testing.assert_array_equal(rows[3, 4, 1, 0], image[98:112, 112:126].transpose(2, 0, 1))


def test_groups_are_found_without_their_list(reference_folder):
    edit_meta(reference_folder, groups=None)
    stream = read_assets(reference_folder)
    assert stream.groups.shape == (4, 2)
    assert (stream.groups[:, 0] >= [0, 33, 69, 94]).all() and (stream.groups[:, 1] <= [33, 69, 94, 120]).all()


def test_padding_keeps_its_mark(reference_folder):
    positions = np.load(reference_folder / "src_patch_position.npy")
    positions[-120:] = -1
    np.save(reference_folder / "src_patch_position.npy", positions)
    stream = read_assets(reference_folder)
    assert (stream.block_positions()[-120:] == -1).all()
    assert stream.runs()[-1].tolist() == [-1, 30]
    seconds = stream.seconds(stream.runs()[:, 0])
    assert seconds[-1] == seconds[-2] > 0


@pytest.mark.parametrize("selection", ["evidence", "state"])
def test_png_round_trip(tmp_path, selection):
    stream = tokenize_video(moving_frames(30), target_canvas=6, selection=selection)
    write_assets(stream, tmp_path / "new" / "folder", image_format="png")
    again = read_assets(tmp_path / "new" / "folder")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(stream, name))
    assert (again.fps, again.signal_source) == (stream.fps, stream.signal_source)


def test_jpg_round_trip_is_close(tmp_path):
    stream = tokenize_video(moving_frames(12), target_canvas=4)
    write_assets(stream, tmp_path)
    again = read_assets(tmp_path)
    assert np.abs(again.canvases.astype(int) - stream.canvases).mean() < 3
    np.testing.assert_array_equal(again.patch_positions, stream.patch_positions)


def test_files_are_those_of_the_reference(tmp_path):
    stream = tokenize_video(moving_frames(12), target_canvas=4)
    write_assets(stream, tmp_path)
    names = [f"canvas_{index:03d}.jpg" for index in range(4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*names, "frame_ids.npy", "meta.json", "src_patch_position.npy"]
    )
    positions = np.load(tmp_path / "src_patch_position.npy")
    assert (positions.shape, positions.dtype) == ((stream.num_tokens * 4, 3), np.int32)
    np.testing.assert_array_equal(positions, stream.patch_positions.reshape(-1, 3))
    np.testing.assert_array_equal(np.load(tmp_path / "frame_ids.npy"), stream.frame_ids)
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert (meta["canvas_files"], meta["fps"], meta["patch"], meta["block_size"]) == (names, stream.fps, 14, 2)


def test_folders_in_use_are_not_written_to(tmp_path):
    stream = tokenize_video(moving_frames(4), target_canvas=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        write_assets(stream, tmp_path)


def test_unknown_image_format(tmp_path):
    stream = tokenize_video(moving_frames(4), target_canvas=1)
    with pytest.raises(ValueError, match="`image_format`.*'gif'"):
        write_assets(stream, tmp_path, image_format="gif")


def remove(name):
    return lambda folder: (folder / name).unlink()


def overwrite(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def change(**meta):
    return lambda folder: edit_meta(folder, **meta)


def positions(edit):
    def apply(folder):
        array = np.load(folder / "src_patch_position.npy")
        np.save(folder / "src_patch_position.npy", edit(array))

    return apply


def other_size(folder):
    Image.new("RGB", (28, 28)).save(folder / "canvas_001.jpg")


def odd_size(folder):
    for path in folder.glob("canvas_*.jpg"):
        Image.new("RGB", (150, 140)).save(path)


def header(name, shape, dtype="<i4"):
    """An array file whose header claims this shape, followed by few bytes."""

    def apply(folder):
        text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode()
        text += b" " * (-(len(text) + 13) % 64) + b"\n"
        (folder / name).write_bytes(b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + bytes(16))

    return apply


def pipe(name):
    def apply(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return apply


def picture_of(fmt):
    return lambda folder: Image.new("RGB", (168, 140)).save(folder / "canvas_000.jpg", format=fmt)


def bomb(folder):
    """Pictures of one colour: a few kilobytes each, a gigabyte in all."""
    for path in folder.glob("canvas_*.jpg"):
        Image.new("1", (28 * 150, 28 * 150)).save(path, format="PNG")


def swap_two_patches(array):
    array[[0, -1]] = array[[-1, 0]]
    return array


def half_padding(array):
    array[0, 0] = -1
    return array


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("meta.json"), "no asset folder, meta.json"),
        (remove("frame_ids.npy"), "frame_ids.npy cannot be read"),
        (remove("src_patch_position.npy"), "src_patch_position.npy cannot be read"),
        (remove("canvas_002.jpg"), "canvas_002.jpg cannot be read"),
        (overwrite("meta.json", b"{"), "meta.json is damaged"),
        (overwrite("meta.json", b"\xff"), "meta.json is damaged"),
        (overwrite("meta.json", b"[1]"), "must hold an object"),
        (overwrite("canvas_000.jpg", b"no image"), "canvas_000.jpg cannot be read as an image"),
        (overwrite("src_patch_position.npy", b"no array"), "src_patch_position.npy is damaged"),
        (overwrite("src_patch_position.npy", b""), "src_patch_position.npy"),
        (change(canvas_files=None), "lists no `canvas_files`"),
        (change(canvas_files=[]), "lists no `canvas_files`"),
        (change(canvas_files=["../canvas_000.jpg"]), "is not the name of a canvas"),
        (change(canvas_files=["meta.json"]), "is not the name of a canvas"),
        (change(canvas_files=["canvas_000.jpg"]), "1920 patches for each canvas; .* have 120 patches"),
        (change(canvas_files=["canvas_000.jpg"] * 2), "lists canvas_000.jpg more than once"),
        (change(fps=0), "`fps`"),
        (change(fps="25"), "`fps`"),
        (change(fps=10**400), "`fps`"),
        (overwrite("meta.json", b"[" * 100000), "meta.json is damaged"),
        (overwrite("meta.json", b'{"a":' + b"9" * 10000 + b"}"), "meta.json is damaged"),
        (header("src_patch_position.npy", "(10000000000, 3)"), "claims shape .* more than the limit"),
        (header("src_patch_position.npy", "(500000, 3)"), r"claims shape .* which is not \d+ bytes"),
        (header("src_patch_position.npy", "(-1, 3)"), "src_patch_position.npy"),
        (header("frame_ids.npy", "(10000000000,)"), "claims shape .* more than the limit"),
        (header("frame_ids.npy", "(" + "1," * 30000 + ")"), "frame_ids.npy is damaged"),
        (header("frame_ids.npy", "(4,)", "|O"), "frame_ids.npy must hold integers"),
        (pipe("meta.json"), "no regular file"),
        (pipe("frame_ids.npy"), "no regular file"),
        (pipe("canvas_001.jpg"), "no regular file"),
        (picture_of("GIF"), "canvas_000.jpg cannot be read as an image"),
        (bomb, "exceed the limit of 134217728 pixels"),
        (change(patch=14.0), "`patch`"),
        (change(patch=16), "do not divide into blocks of 32"),
        (change(block_size=0), "`block_size`"),
        (change(images_per_group=8), "`groups` of meta.json"),
        (change(groups=[{}] * 4), "`groups` of meta.json"),
        (change(signal_source="bits"), "`signal_source`"),
        (change(signal_source=["bits"]), "`signal_source`"),
        (change(signal_source=["guess"] * 128), "`signal_source`"),
        (change(timestamps=["now"]), "`timestamps` of meta.json must be numbers"),
        (change(timestamps=[0.0]), "frame_ids.npy does not list"),
        (other_size, "canvas_001.jpg differs in size from canvas_000.jpg"),
        (odd_size, "do not divide into blocks of 28"),
        (positions(lambda array: array[:-1]), "1919, 3"),
        (positions(lambda array: array[:, :2]), "1920, 2"),
        (positions(lambda array: array.astype(np.float32)), "must hold integers"),
        (positions(lambda array: array + 1000), "frame_ids.npy does not list"),
        (positions(lambda array: array + [0, 10, 0]), "places outside of 10 rows x 12 columns"),
        (positions(lambda array: array - 2), "neither a place nor padding"),
        (positions(half_padding), "neither a place nor padding"),
        (positions(swap_two_patches), "come from different frames"),
    ],
)
def test_broken_folders(reference_folder, damage, message):
    damage(reference_folder)
    with pytest.raises(VideoError, match=message) as info:
        read_assets(reference_folder)
    assert str(info.value).startswith(str(reference_folder))


def test_damaged_files_of_a_folder(tmp_path):
    """Flipped, cut and repeated bytes: a stream that fits together, or `VideoError`."""
    stream = tokenize_video(moving_frames(12, 56, 84), target_canvas=3)
    rng = np.random.default_rng(0)
    outcomes = []
    for case in range(150):
        folder = tmp_path / str(case)
        write_assets(stream, folder, image_format=("jpg", "png")[case % 2])
        path = sorted(folder.iterdir())[rng.integers(6)]
        data = np.frombuffer(path.read_bytes(), np.uint8).copy()
        at, kind = int(rng.integers(min(len(data), 400))), rng.integers(4)
        if kind == 0:
            data[at : at + int(rng.integers(1, 9))] = rng.integers(256)
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = np.insert(data, at, data[at : at + 40])
        else:
            data[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
        path.write_bytes(data.tobytes())
        try:
            found = read_assets(folder)
        except VideoError as error:
            assert str(error).startswith(f"{folder}: ")
            outcomes.append("VideoError")
        else:
            assert found.patch_positions.shape[:2] == (len(found.canvases), 24)
            assert np.isfinite(found.seconds(found.runs()[:, 0])).all()
            outcomes.append("read")
    assert outcomes.count("read") > 20 and outcomes.count("VideoError") > 50


def test_pictures_are_opened_last(reference_folder, monkeypatch):
    """What the arrays tell is checked before a picture is decoded."""
    monkeypatch.setattr(Image.Image, "convert", lambda *args: pytest.fail("a picture was decoded"))
    for damage in (change(images_per_group=8), positions(swap_two_patches), bomb):
        damage(reference_folder)
        with pytest.raises(VideoError):
            read_assets(reference_folder)


def test_limit_is_adjustable(reference_folder):
    with pytest.raises(VideoError, match="more than the limit"):
        read_assets(reference_folder, max_pixels=16 * 168 * 140 - 1)
    assert len(read_assets(reference_folder, max_pixels=16 * 168 * 140).canvases) == 16


def test_no_folder(tmp_path):
    with pytest.raises(VideoError, match="no asset folder"):
        read_assets(tmp_path / "missing")


def test_returns_a_stream(reference_folder):
    assert isinstance(read_assets(str(reference_folder)), CodecStream)
