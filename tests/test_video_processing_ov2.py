# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import functools
import http.server
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers.video_utils import VideoMetadata

from transformers_ov2 import video_processing_ov2
from transformers_ov2.codec import CodecStream, CodecStreamConfig, tokenize_video
from transformers_ov2.codec.deciding.budget import timestamp_text_tokens
from transformers_ov2.codec.packing.assets import write_assets
from transformers_ov2.codec.reading.source import open_source
from transformers_ov2.video_inputs import flatten_videos
from transformers_ov2.video_processing_ov2 import OV2VideoProcessor


SIZE = {"min_pixels": 784, "max_pixels": 56 * 84}
MEAN, STD = (torch.tensor(OV2VideoProcessor.image_mean), torch.tensor(OV2VideoProcessor.image_std))


def write_clip(path, num_frames=30, size=(56, 84), rate=10, pts=None, gop=10):
    """A moving gradient; frame `i` is recognisable by its red level (`8 * i % 256`)."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        # Without part of x264's assembly: the same file every time.
        options = {"crf": "10", "bf": "2", "x264-params": "cpu-independent=1"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.codec_context.gop_size = gop
        if pts is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(num_frames):
            image = np.stack([np.full_like(x, 8 * i % 256), x * 255 // width, (y + i) * 255 // (height + i)], axis=-1)
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_clip(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def frames(clip):
    return read_clip(clip)


@pytest.fixture
def processor():
    return OV2VideoProcessor(video_backend="frames", **SIZE)


def make_stream(num_canvases=8, rows=4, columns=6, per_group=4):
    """Canvases whose P-canvases hold blocks of several source frames."""
    rng = np.random.default_rng(0)
    canvases = rng.integers(0, 256, (num_canvases, rows * 14, columns * 14, 3), dtype=np.uint8)
    frame_ids = np.arange(num_canvases * 3)
    positions = np.empty((num_canvases, rows // 2, 2, columns // 2, 2, 3), dtype=np.int64)
    # 6 blocks per canvas, two per source frame.
    block_frames = np.repeat(frame_ids, 2).reshape(num_canvases, rows // 2, 1, columns // 2, 1)
    positions[..., 0] = block_frames
    positions[..., 1] = np.arange(rows).reshape(1, rows // 2, 2, 1, 1)
    positions[..., 2] = np.arange(columns).reshape(1, 1, 1, columns // 2, 2)
    groups = np.stack(
        [np.arange(0, len(frame_ids), 3 * per_group), np.arange(3 * per_group, len(frame_ids) + 1, 12)], 1
    )
    return CodecStream(
        canvases=canvases,
        patch_positions=positions.reshape(num_canvases, rows * columns, 3),
        groups=groups,
        canvases_per_group=np.full(len(groups), per_group),
        frame_ids=frame_ids,
        timestamps=frame_ids / 25,
        fps=25.0,
        signal_source=["residual"] * len(frame_ids),
    )


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(actual[name], value, rtol=0, atol=0, msg=name)


def unpatchify(features, index=0):
    """uint8 frames [T, H, W, 3] back from the first video's rows, by their positions."""
    t, rows, columns = features["video_grid_thw"][index].tolist()
    pixels = features["pixel_values_videos"][: t * rows * columns].reshape(-1, 3, 14, 14)
    pixels = (pixels * STD.view(3, 1, 1) + MEAN.view(3, 1, 1)) * 255
    frames = torch.empty(t, rows, columns, 3, 14, 14)
    _, h, w = features["video_patch_positions"][: t * rows * columns].T
    frames[torch.arange(t).repeat_interleave(rows * columns), h, w] = pixels
    return frames.permute(0, 1, 4, 2, 5, 3).reshape(t, rows * 14, columns * 14, 3).round().to(torch.uint8).numpy()


# Inputs


@pytest.mark.parametrize("kind", ["str", "path", "file_url", "bytes", "file", "unseekable", "nested"])
def test_encoded_inputs_agree(processor, clip, kind):
    class Unseekable(io.RawIOBase):
        def __init__(self, data):
            self.data = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.data.readinto(buffer)

    expected = processor(str(clip), num_frames=5)
    video = {
        "str": lambda: str(clip),
        "path": lambda: clip,
        "file_url": lambda: clip.as_uri(),
        "bytes": lambda: clip.read_bytes(),
        "file": lambda: open(clip, "rb"),  # noqa: SIM115
        "unseekable": lambda: Unseekable(clip.read_bytes()),
        "nested": lambda: [[str(clip)]],
    }[kind]()
    assert_same(processor(video, num_frames=5), expected)


@pytest.mark.parametrize(
    "convert",
    [
        lambda frames: frames,
        lambda frames: torch.from_numpy(frames),
        lambda frames: frames.transpose(0, 3, 1, 2),
        lambda frames: torch.from_numpy(frames).permute(0, 3, 1, 2),
        lambda frames: list(frames),
        lambda frames: list(torch.from_numpy(frames)),
        lambda frames: [Image.fromarray(frame) for frame in frames],
        lambda frames: tuple(Image.fromarray(frame) for frame in frames),
        lambda frames: frames[None],
    ],
    ids=["THWC", "tensor", "TCHW", "tensor-TCHW", "list", "tensor-list", "pil", "pil-tuple", "5-D"],
)
def test_decoded_inputs_agree_with_the_file(processor, clip, frames, convert):
    expected = processor(clip, do_sample_frames=False)
    features = processor(convert(frames), video_metadata=VideoMetadata(total_num_frames=30, fps=10))
    assert_same(features, expected)


def test_lists_of_frame_files(processor, frames, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, frame in zip(paths, frames):
        Image.fromarray(frame).save(path)
    expected = processor(frames[:4])
    assert_same(processor(paths), expected)
    assert_same(processor([str(path) for path in paths]), expected)
    assert_same(processor([[[path.as_uri() for path in paths]]]), expected)
    with pytest.raises(ValueError, match="list of images is not supported"):
        processor(paths, num_frames=2)
    # transformers' rule: strings two levels deep are frames, whatever their names
    bare = [path.rename(tmp_path / path.stem) for path in paths]
    assert_same(processor([[[str(path) for path in bare]]]), expected)


def test_animations_are_no_frames(processor, frames, tmp_path):
    pictures = [Image.fromarray(frame) for frame in frames[:3]]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=100)
    with pytest.raises(ValueError, match=r"a\.webp: is an animation of 3 pictures"):
        processor([tmp_path / "a.webp"] * 2)


def test_single_images_are_videos_of_one_frame(processor, frames):
    expected = processor(frames[:1])
    assert_same(processor(Image.fromarray(frames[0])), expected)
    assert_same(processor(frames[0]), expected)


def test_grayscale_and_alpha_frames(processor, frames):
    gray = frames[:3, ..., :1]
    assert_same(processor(gray), processor(np.repeat(gray, 3, axis=-1)))
    opaque = np.concatenate([frames[:3], np.full_like(gray, 255)], axis=-1)
    difference = processor(opaque)["pixel_values_videos"] - processor(frames[:3])["pixel_values_videos"]
    assert difference.abs().max() < 2 / 255 / STD.min()


def test_every_form_of_frame_is_opaque_and_of_8_bits(processor):
    rng = np.random.default_rng(0)
    transparent = rng.integers(0, 256, (9, 56, 84, 4), dtype=np.uint8)
    alpha = transparent[..., 3:] / 255
    expected = np.round(transparent[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    for backend in ("frames", "codec"):
        rows = processor(expected, video_backend=backend)
        for frames in (
            transparent,
            torch.from_numpy(transparent).permute(0, 3, 1, 2),
            list(transparent),
            [Image.fromarray(frame) for frame in transparent],
        ):
            assert_same(processor(frames, video_backend=backend), rows)
    assert_same(processor(expected.astype(np.uint16) * 257), processor(expected))


@pytest.mark.parametrize("video", [3, {"name": "clip.mp4"}, [[3]], np.zeros((2, 2))])
def test_what_is_no_video_is_refused(processor, video):
    with pytest.raises(TypeError, match="is not supported"):
        processor(video)


def test_no_video_is_refused(processor):
    with pytest.raises(ValueError, match="no video"):
        processor([])


def test_missing_file_is_named(processor, tmp_path):
    with pytest.raises(ValueError, match=r"missing\.mp4"):
        processor(str(tmp_path / "missing.mp4"))


def test_frames_of_several_sizes_are_refused(processor):
    with pytest.raises(ValueError, match="one size"):
        processor([Image.new("RGB", (56, 56)), Image.new("RGB", (84, 56))])


@pytest.mark.parametrize(
    "videos, flat, per_sample",
    [
        ("a", ["a"], None),
        (["a", "b"], ["a", "b"], None),
        ([["a"], ["b", "c"]], ["a", "b", "c"], [1, 2]),
        ([["a"], []], ["a"], [1, 0]),
        ([[["f", "g"], "a"], ["b"]], [["f", "g"], "a", "b"], [2, 1]),
        (["f.png", "g.png"], [["f.png", "g.png"]], None),
        ([["f.png", "g.jpg"], ["h.png"]], [["f.png", "g.jpg"], ["h.png"]], None),
        ([b"a", "b"], [b"a", "b"], None),
        (["a", None], ["a"], None),
    ],
)
def test_flatten_videos(videos, flat, per_sample):
    assert flatten_videos(videos) == (flat, per_sample)


# Frame choice and times


@pytest.mark.parametrize(
    "total, rate, options, count",
    [
        (249, 25.0, {}, 8),
        (250, 25.0, {}, 16),
        (749, 25.0, {}, 16),
        (750, 25.0, {}, 384),
        (750, 25.0, {"max_frames": 100}, 100),
        (250, 25.0, {"max_frames": 10}, 10),
        (250, 25.0, {"fps": 2}, 20),
        (250, 25.0, {"fps": 2, "max_frames": 6}, 6),
        (10, 25.0, {"fps": 1}, 1),
        (250, 25.0, {"num_frames": 5}, 5),
        (4, 25.0, {"num_frames": 5}, 4),
        (4, 25.0, {}, 4),
    ],
)
def test_number_of_sampled_frames(total, rate, options, count):
    indices = OV2VideoProcessor().sample_frames(VideoMetadata(total_num_frames=total, fps=rate), **options)
    expected = np.arange(total) if count >= total else np.linspace(0, total - 1, count).round()
    np.testing.assert_array_equal(indices, expected)
    assert len(indices) == count


def test_sampling_by_time_needs_a_frame_rate():
    with pytest.raises(ValueError, match="frame rate"):
        OV2VideoProcessor().sample_frames(VideoMetadata(total_num_frames=8), fps=3)


def test_file_frames_are_the_sampled_ones(processor, clip, frames):
    features = processor(clip, num_frames=4, return_metadata=True)
    indices = np.linspace(0, 29, 4).round().astype(int)
    np.testing.assert_array_equal(unpatchify(features), frames[indices])
    assert features["video_patch_positions"][:, 0].unique().tolist() == indices.tolist()
    metadata = features["video_metadata"][0]
    assert metadata.frames_indices == indices.tolist()
    assert metadata.timestamps == (indices / 10).tolist()
    assert (metadata.fps, metadata.total_num_frames, metadata.duration) == (10.0, 30, 3.0)


def test_decoded_frames_are_all_used_unless_asked(processor, frames):
    metadata = VideoMetadata(total_num_frames=30, fps=10)
    assert processor(frames, video_metadata=metadata)["video_grid_thw"][0, 0] == 30
    assert processor(frames, video_metadata=metadata, num_frames=4)["video_grid_thw"][0, 0] == 4
    assert processor(frames, video_metadata=metadata, fps=2)["video_grid_thw"][0, 0] == 6
    assert processor(frames, video_metadata=metadata, do_sample_frames=True)["video_grid_thw"][0, 0] == 8
    assert processor(frames, video_metadata=metadata, max_frames=20)["video_grid_thw"][0, 0] == 20
    assert processor(frames, video_metadata=metadata, num_frames=12, max_frames=5)["video_grid_thw"][0, 0] == 5
    sampling = OV2VideoProcessor(num_frames=4, **SIZE)
    assert sampling(frames, video_metadata=metadata, do_sample_frames=False)["video_grid_thw"][0, 0] == 30


def test_decoded_frames_without_metadata_count_seconds(processor, frames):
    features = processor(frames[:3], return_metadata=True)
    assert features["video_metadata"][0].timestamps == [0.0, 1.0, 2.0]


def test_frames_that_are_a_sample_keep_their_source_indices(processor, frames):
    metadata = {"total_num_frames": 30, "fps": 10, "frames_indices": [0, 7, 21]}
    features = processor(frames[[0, 7, 21]], video_metadata=metadata, return_metadata=True)
    assert features["video_patch_positions"][:, 0].unique().tolist() == [0, 7, 21]
    assert features["video_metadata"][0].timestamps == [0.0, 0.7, 2.1]
    with pytest.raises(ValueError, match="names 3 frames"):
        processor(frames[:2], video_metadata=metadata)
    with pytest.raises(ValueError, match="a sample already"):
        processor(frames[:3], video_metadata=metadata, num_frames=2)


def test_metadata_must_be_one_per_video(processor, frames):
    with pytest.raises(ValueError, match="1 videos but 2"):
        processor(frames, video_metadata=[{"total_num_frames": 30, "fps": 10}] * 2)


def test_variable_frame_rate_gives_true_times(processor, tmp_path):
    pts = np.cumsum([0, 40, 500, 40, 40, 1000, 40, 200])
    path = write_clip(tmp_path / "vfr.mkv", num_frames=8, pts=pts.tolist())
    metadata = processor(path, num_frames=8, return_metadata=True)["video_metadata"][0]
    np.testing.assert_allclose(metadata.timestamps, pts / 1000, atol=1e-9)


def test_constant_frame_rate_gives_index_over_rate(processor, tmp_path):
    # Matroska rounds to milliseconds: 1/30 s is stored as 33 ms
    path = write_clip(tmp_path / "cfr.mkv", num_frames=20, rate=30)
    metadata = processor(path, do_sample_frames=False, return_metadata=True)["video_metadata"][0]
    np.testing.assert_allclose(metadata.timestamps, np.arange(20) / 30, rtol=0, atol=1e-12)


def test_rotation_is_honoured(processor, clip, frames, tmp_path):
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    for i, value in enumerate([0, 1, 0, -1, 0, 0, 0, 0]):  # 90 degrees clockwise, 16.16 fixed point
        data[matrix + 4 * i : matrix + 4 * i + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path = tmp_path / "rotated.mp4"
    path.write_bytes(data)
    features = processor(path, num_frames=3)
    assert features["video_grid_thw"].tolist() == [[3, 6, 4]]
    np.testing.assert_array_equal(unpatchify(features), np.rot90(frames[[0, 14, 29]], -1, axes=(1, 2)))


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder and the URL under which a server of this machine shows it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_urls_are_fetched_within_the_options(processor, clip, frames, web):
    folder, url = web
    (folder / "clip.mp4").write_bytes(clip.read_bytes())
    Image.fromarray(frames[0]).save(folder / "frame.png")
    (folder / "broken.png").write_bytes(b"no image")
    here = {"allow_private_network": True}
    for video, local in ((f"{url}/clip.mp4", str(clip)), ([f"{url}/frame.png"] * 2, [str(folder / "frame.png")] * 2)):
        expected = processor([local])["pixel_values_videos"]
        torch.testing.assert_close(processor([video], **here)["pixel_values_videos"], expected)
        for options, message in (
            ({}, "not public"),
            ({**here, "allow_network": False}, "network access is off"),
            ({**here, "max_download_bytes": 10}, "`max_download_bytes`"),
        ):
            with pytest.raises(ValueError, match=message):
                processor([video], **options)
    with pytest.raises(ValueError, match="broken.png: cannot be read as an image"):
        processor([[f"{url}/broken.png"]], **here)


@pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")
@pytest.mark.parametrize("backend", ["codec", "frames"])
def test_isolation_changes_nothing(clip, backend):
    processor = OV2VideoProcessor(video_backend=backend, **SIZE)
    expected = processor(clip)
    assert_same(processor(clip, isolate=True), expected)
    with pytest.raises(ValueError, match="clip.mp4: reading took longer than 0.01 seconds"):
        processor(clip, isolate={"seconds": 0.01})


def test_options_of_the_machine_are_not_those_of_a_checkpoint(tmp_path):
    OV2VideoProcessor(allow_network=False).save_pretrained(tmp_path)
    file = tmp_path / "video_preprocessor_config.json"
    stored = json.loads(next(tmp_path.iterdir()).read_text())
    assert not [name for name in stored if "network" in name or "download" in name]
    file.write_text(json.dumps({**stored, "allow_private_network": True, "max_download_bytes": 1}))
    loaded = OV2VideoProcessor.from_pretrained(tmp_path)
    assert (loaded.allow_network, loaded.allow_private_network, loaded.max_download_bytes) == (True, False, 2**32)
    assert not OV2VideoProcessor.from_pretrained(tmp_path, allow_network=False).allow_network


def test_only_needed_parts_of_a_file_are_decoded(processor, tmp_path):
    path = write_clip(tmp_path / "long.mp4", num_frames=400, gop=10)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    starts = [i for i, packet in enumerate(packets) if packet[2]]
    expected = processor(path, num_frames=3, return_metadata=True)
    wanted = expected["video_metadata"][0].frames_indices
    data = bytearray(path.read_bytes())
    for first, last in zip(starts, [*starts[1:], len(packets)]):
        if not any(first <= index < last for index in wanted):
            for position, size, _ in packets[first:last]:
                data[position + 4 : position + size] = bytes(size - 4)
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(processor(path, num_frames=3, return_metadata=True), expected)


# Layout and options


def test_rows_are_patches_in_merge_block_order(processor):
    video = torch.arange(2 * 3 * 56 * 84).remainder(251).to(torch.uint8).reshape(2, 3, 56, 84)
    features = processor(video)
    assert features["video_grid_thw"].tolist() == [[2, 4, 6]]
    positions = features["video_patch_positions"]
    assert positions[:8].tolist() == [
        *([0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]),
        *([0, 0, 2], [0, 0, 3], [0, 1, 2], [0, 1, 3]),
    ]
    for row, (t, h, w) in zip(features["pixel_values_videos"], positions.tolist()):
        patch = video[t, :, 14 * h : 14 * h + 14, 14 * w : 14 * w + 14] / 255
        expected = (patch - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
        torch.testing.assert_close(row, expected.flatten(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("merge_size, patch_size", [(2, 16), (3, 14), (3, 16)])
def test_other_patch_and_merge_sizes(frames, merge_size, patch_size):
    processor = OV2VideoProcessor(video_backend="frames", merge_size=merge_size, patch_size=patch_size)
    features = processor(frames[:2])
    _, rows, columns = features["video_grid_thw"][0].tolist()
    assert rows % merge_size == columns % merge_size == 0
    assert features["pixel_values_videos"].shape == (2 * rows * columns, 3 * patch_size**2)


def test_pixel_limits(frames):
    processor = OV2VideoProcessor(video_backend="frames")

    def grid(**kwargs):
        return processor(frames[:1], **kwargs)["video_grid_thw"][0].tolist()

    assert grid() == [1, 4, 6]
    assert grid(max_pixels=28 * 56, min_pixels=784) == [1, 2, 2]
    assert grid(min_pixels=112 * 168) == [1, 8, 12]
    assert grid(size={"shortest_edge": 784, "longest_edge": 28 * 56}) == [1, 2, 2]
    assert OV2VideoProcessor(video_backend="frames", max_pixels=28 * 56, min_pixels=784).size == {
        "shortest_edge": 784,
        "longest_edge": 28 * 56,
    }
    with pytest.raises(ValueError, match=r"`min_pixels` \(3136\) must not exceed `max_pixels` \(784\)"):
        grid(max_pixels=784)


def test_without_resize_sides_must_hold_whole_blocks(processor, frames):
    assert processor(frames[:1], do_resize=False)["video_grid_thw"].tolist() == [[1, 4, 6]]
    with pytest.raises(ValueError, match="multiples of 28"):
        processor(frames[:1, :50], do_resize=False)


def test_windows_of_frames(processor, frames):
    assert processor([frames[:3], frames[:5]])["video_window_sizes"].tolist() == [1, 1]
    assert processor([frames[:3], frames[:5]], frame_window_size=4)["video_window_sizes"].tolist() == [4, 4]


def test_several_videos_are_concatenated(processor, clip, frames):
    features = processor([[clip], [frames[:3, :28], frames[:2]]], num_frames=2, do_sample_frames=None)
    parts = [processor(clip, num_frames=2), processor(frames[:3, :28], num_frames=2), processor(frames[:2])]
    for name in features:
        torch.testing.assert_close(features[name], torch.cat([part[name] for part in parts]), rtol=0, atol=0)


def test_all_outputs_are_tensors(processor, frames):
    features = processor(frames[:2])
    assert set(features) == set(OV2VideoProcessor.model_input_names)
    assert all(isinstance(value, torch.Tensor) for value in features.values())
    assert features["pixel_values_videos"].dtype == torch.float32
    assert all(features[name].dtype == torch.int64 for name in features if name != "pixel_values_videos")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"video_backend": "decord"}, "video_backend"),
        ({"frame_window_size": 0}, "frame_window_size"),
        ({"timestamp_decimals": -1}, "timestamp_decimals"),
        ({"temporal_patch_size": 2}, "temporal_patch_size"),
        ({"codec": {"target_canvases": 8}}, "Did you mean `target_canvas`"),
        ({"codec": {"patch": 16}}, "patches of 16"),
        ({"size": {"height": 28, "width": 28}}, "shortest_edge"),
    ],
)
def test_bad_options_are_refused_on_construction(options, message):
    with pytest.raises(ValueError, match=message):
        OV2VideoProcessor(**options)


FOR_FRAMES = {
    "num_frames": 4,
    "fps": 1,
    "max_frames": 3,
    "do_sample_frames": False,
    "frame_window_size": 4,
    "do_resize": False,
    "resample": 2,
}


@pytest.mark.parametrize("name, value", FOR_FRAMES.items())
def test_an_option_of_frames_asks_for_frames(clip, name, value):
    """In a call, in `from_pretrained` and in the constructor, unless the other backend is named."""
    codec = OV2VideoProcessor(**SIZE)
    assert codec.video_backend == "codec"
    called = codec(clip, return_metadata=True, **{name: value})
    assert called["video_metadata"][0].video_backend == "frames"
    assert_same(called, OV2VideoProcessor(video_backend="frames", **SIZE)(clip, return_metadata=True, **{name: value}))
    for made in (OV2VideoProcessor(**{name: value}), OV2VideoProcessor.from_dict(codec.to_dict(), **{name: value})):
        assert made.video_backend == "frames" and getattr(made, name) == value
    with pytest.raises(ValueError, match=f"`{name}` is for whole frames and has no effect"):
        codec(clip, video_backend="codec", **{name: value})
    with pytest.raises(ValueError, match=f"`{name}` is for whole frames and has no effect"):
        OV2VideoProcessor.from_dict(codec.to_dict(), video_backend="codec", **{name: value})


def test_options_of_a_file_are_defaults_and_choose_nothing(clip, tmp_path):
    """A released file limits frames without meaning that frames are to be used."""
    OV2VideoProcessor(video_backend="codec", num_frames=3, max_frames=768, **SIZE).save_pretrained(tmp_path)
    processor = OV2VideoProcessor.from_pretrained(tmp_path)
    assert processor.video_backend == "codec"
    assert processor(clip, video_backend="frames")["video_grid_thw"][0, 0] == 3
    assert OV2VideoProcessor.from_pretrained(tmp_path, codec={"target_canvas": 8}).video_backend == "codec"
    assert OV2VideoProcessor.from_pretrained(tmp_path, num_frames=4).video_backend == "frames"


def test_an_option_of_the_codec_asks_for_the_codec(processor, clip):
    features = processor(clip, codec={"target_canvas": 8}, return_metadata=True)
    assert features["video_metadata"][0].video_backend == "codec"


@pytest.mark.parametrize("options", [{"num_frames": 4}, {"codec": {"target_canvas": 8}}])
def test_options_without_an_effect_on_made_streams_are_named(options, monkeypatch):
    warned = []
    monkeypatch.setattr(video_processing_ov2.logger, "warning_once", warned.append)
    assert_same(OV2VideoProcessor()([make_stream()], **options), OV2VideoProcessor()(make_stream()))
    assert [next(iter(options)) in message for message in warned] == [True]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"codec": {"target_canvas": 8}, "video_backend": "frames"}, "leave one of them out"),
        ({"codec": {"target_canvas": 8}, "num_frames": 4}, "leave one of them out"),
        ({"do_sample_frames": False, "num_frames": 4}, "keeps every frame"),
        ({"do_sample_frames": False, "max_frames": 4}, "keeps every frame"),
        ({"do_center_crop": True}, "no effect on videos"),
        ({"fps": 1, "num_frames": 4}, "mutually exclusive"),
        ({"max_frames": 0}, "max_frames"),
    ],
)
def test_options_of_a_call_that_have_no_effect_are_refused(processor, clip, options, message):
    with pytest.raises(ValueError, match=message):
        processor(clip, **options)


def test_save_and_load(tmp_path, clip):
    processor = OV2VideoProcessor(
        video_backend="frames", max_frames=6, timestamp_decimals=2, codec={"target_canvas": 8}, **SIZE
    )
    processor.save_pretrained(tmp_path)
    loaded = OV2VideoProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert_same(loaded(clip), processor(clip))


@pytest.mark.parametrize("size", [(56, 84), (100, 37), (240, 320), (28, 2000)])
def test_number_of_patches_is_that_of_the_output(size):
    processor = OV2VideoProcessor(video_backend="frames", max_pixels=50176)
    features = processor(np.zeros((3, *size, 3), dtype=np.uint8))
    assert processor.get_num_of_video_patches(3, *size) == len(features["pixel_values_videos"])
    limit = {"max_pixels": 3136}
    features = processor(np.zeros((3, *size, 3), dtype=np.uint8), **limit)
    assert processor.get_num_of_video_patches(3, *size, limit) == len(features["pixel_values_videos"])


# Codec streams


@pytest.mark.parametrize("backend", ["codec", "frames"])
def test_codec_streams_are_taken_as_they_are(backend):
    stream = make_stream()
    features = OV2VideoProcessor(video_backend=backend)(stream, return_metadata=True)
    assert features["video_grid_thw"].tolist() == [[8, 4, 6]]
    assert features["video_window_sizes"].tolist() == [4]
    np.testing.assert_array_equal(features["video_patch_positions"], stream.block_positions())
    pixels = features["pixel_values_videos"].reshape(-1, 3, 14, 14) * STD.view(3, 1, 1) + MEAN.view(3, 1, 1)
    np.testing.assert_array_equal((pixels * 255).round().flatten(1).numpy(), stream.patch_rows())
    metadata = features["video_metadata"][0]
    assert metadata.video_backend == "codec"
    assert metadata.frames_indices == list(range(24))
    assert metadata.timestamps == (np.arange(24) / 25).tolist()
    assert metadata.run_lengths == [2] * 24


def test_one_batch_may_hold_both_kinds(processor, frames):
    features = processor([make_stream(), frames[:3]])
    assert features["video_grid_thw"].tolist() == [[8, 4, 6], [3, 4, 6]]
    assert features["video_window_sizes"].tolist() == [4, 1]


def test_stream_of_another_patch_size_is_refused():
    stream = make_stream()
    stream.merge = 1
    with pytest.raises(ValueError, match="merged by 1"):
        OV2VideoProcessor()(stream)


def test_encoded_videos_go_through_the_codec_tokenizer_by_default(clip):
    processor = OV2VideoProcessor(codec={"target_canvas": 8}, **SIZE)
    features = processor(clip, return_metadata=True)
    stream = tokenize_video(open_source(clip), CodecStreamConfig(target_canvas=8, **SIZE))
    assert_same(features, processor(stream, return_metadata=True))
    metadata = features["video_metadata"][0]
    assert (metadata.video_backend, metadata.signal_source) == ("codec", stream.signal_shares)
    assert features["video_grid_thw"].tolist() == [[8, 4, 6]]
    assert features["video_window_sizes"].tolist() == [4]
    assert_same(processor(clip.read_bytes()), processor(clip))


def test_codec_options_of_a_call_are_laid_over_the_instance(clip):
    processor = OV2VideoProcessor(codec={"target_canvas": 8, "max_pixels": 56 * 84})

    def grid(**kwargs):
        return processor(clip, **kwargs)["video_grid_thw"][0].tolist()

    assert grid() == [8, 4, 6]
    assert grid(codec={"grouping": "fixed"}) == [8, 4, 6]
    assert grid(codec={"target_canvas": 4}) == [4, 4, 6]
    # The limits of a call go before the instance's codec block, the call's codec block before both.
    assert grid(min_pixels=112 * 168) == [8, 8, 12]
    assert grid(max_pixels=1568, min_pixels=784) == [8, 2, 2]
    assert grid(max_pixels=1568, min_pixels=784, codec={"max_pixels": 56 * 84}) == [8, 4, 6]


@pytest.mark.parametrize(("asked", "of_torch", "expected"), [(0, 1, 1), (0, 3, 2), (5, 1, 5)])
def test_threads_of_the_tokenizer_are_those_of_torch(clip, asked, of_torch, expected, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: of_torch)
    monkeypatch.setattr("transformers_ov2.codec.workers.available_cores", lambda: 2)
    seen, original = [], video_processing_ov2.tokenize_video
    monkeypatch.setattr(
        video_processing_ov2,
        "tokenize_video",
        lambda source, config, **options: (seen.append(config.num_threads), original(source, config, **options))[1],
    )
    OV2VideoProcessor(video_backend="codec", codec={"target_canvas": 2, "num_threads": asked})(clip)
    assert seen == [expected]


def test_decoded_frames_through_the_codec_tokenizer(frames):
    processor = OV2VideoProcessor(codec={"target_canvas": 4}, **SIZE)
    features = processor(frames, video_metadata={"total_num_frames": 30, "fps": 10}, return_metadata=True)
    metadata = features["video_metadata"][0]
    assert metadata.signal_source == {"pixels": 1.0}
    assert metadata.timestamps == [index / 10 for index in metadata.frames_indices]
    assert features["video_grid_thw"].tolist() == [[4, 4, 6]]
    # Frames of a sample keep their source indices and times.
    indices = list(range(0, 300, 10))
    sample = {"total_num_frames": 300, "fps": 10, "frames_indices": indices}
    sampled = processor(frames, video_metadata=sample, return_metadata=True)
    assert sampled["video_metadata"][0].frames_indices == [10 * index for index in metadata.frames_indices]
    assert sampled["video_metadata"][0].timestamps == metadata.frames_indices
    expected = features["video_patch_positions"].clone()
    expected[:, 0] *= 10
    assert torch.equal(sampled["video_patch_positions"], expected)
    with pytest.raises(ValueError, match="needs uint8 frames"):
        processor(frames / 255)


def test_asset_folders_are_videos(tmp_path):
    stream = make_stream()
    stream.patch_positions[-1, [16, 17, 22, 23]] = -1  # the last block, as the reference tool pads
    write_assets(stream, tmp_path / "assets", image_format="png")
    processor = OV2VideoProcessor()
    expected = processor(stream)
    for video in (tmp_path / "assets", str(tmp_path / "assets"), (tmp_path / "assets").as_uri()):
        assert_same(processor(video), expected)
    with pytest.raises(ValueError, match=r"meta\.json"):
        processor(tmp_path)


@pytest.mark.parametrize("limit", [40, 60, 100])
def test_token_limit_of_codec_videos(clip, limit):
    processor = OV2VideoProcessor(codec={"target_canvas": 8}, **SIZE)
    metadata = processor(clip, max_tokens=limit, return_metadata=True)["video_metadata"][0]
    assert sum(metadata.run_lengths) + sum(map(timestamp_text_tokens, metadata.seconds)) <= limit
    seen = []
    processor(clip, max_tokens=limit, timestamp_tokens=lambda seconds: seen.append(seconds) or 1)
    assert seen


def test_number_of_patches_of_codec_videos_is_a_bound(clip):
    processor = OV2VideoProcessor(codec={"target_canvas": 8}, **SIZE)
    assert processor.get_num_of_video_patches(30, 56, 84) == len(processor(clip)["pixel_values_videos"])
    assert processor.get_num_of_video_patches(3, 56, 84) >= len(processor(read_clip(clip)[:3])["pixel_values_videos"])


@pytest.mark.parametrize("backend", ["codec", "frames"])
@pytest.mark.parametrize("num_frames", [1, 2, 5, 7])
def test_clips_of_a_few_frames(tmp_path, num_frames, backend):
    path = write_clip(tmp_path / "short.mp4", num_frames=num_frames)
    features = OV2VideoProcessor(video_backend=backend, **SIZE)(path, return_metadata=True)
    rows = features["video_grid_thw"][0, 0]
    assert rows == num_frames if backend == "frames" else 1 <= rows <= num_frames
    assert features["video_metadata"][0].frames_indices[0] == 0
    assert features["video_patch_positions"][:, 0].max() < num_frames


def test_codec_videos_need_no_program_and_no_disk(clip, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("started a program")

    data = clip.read_bytes()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "system", refuse)
    monkeypatch.chdir(tmp_path)
    OV2VideoProcessor(**SIZE)(data)
    assert list(tmp_path.iterdir()) == []


def test_number_of_patches_under_a_token_limit_is_a_bound(clip):
    for backend in ("codec", "frames"):
        processor = OV2VideoProcessor(video_backend=backend, max_tokens=60, **SIZE)
        assert len(processor(clip)["pixel_values_videos"]) <= processor.get_num_of_video_patches(30, 56, 84) <= 240


def test_rescaled_frames(processor, frames):
    scaled = processor(frames[:2] / np.float32(255), do_rescale=False)
    torch.testing.assert_close(
        scaled["pixel_values_videos"], processor(frames[:2])["pixel_values_videos"], rtol=0, atol=1e-2
    )
