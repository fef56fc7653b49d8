# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Videos as people have them, through the processor and the collator: each gives what the file itself gives."""

import base64
import io
import zipfile
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pytest
import torch

from transformers_ov2 import OV2VideoProcessor, video_processing_ov2
from transformers_ov2.codec import VideoError, read_archive, tokenize_video, write_archive
from transformers_ov2.codec.packing import archive as archive_module
from transformers_ov2.video_sources import resolve_source


ASSETS = Path(__file__).parents[1] / "examples" / "assets"
CLIP = ASSETS / "ball.mp4"
OPTIONS = {"codec": {"target_canvas": 4, "max_pixels": 12544}}


@pytest.fixture(scope="module")
def processor():
    return OV2VideoProcessor(**OPTIONS)


@pytest.fixture(scope="module")
def stream():
    return tokenize_video(CLIP, target_canvas=4, max_pixels=12544)


@pytest.fixture(scope="module")
def expected(processor):
    return processor(str(CLIP), return_tensors="pt")


def sources(tmp_path) -> dict:
    content = CLIP.read_bytes()
    store = fsspec.filesystem("memory")
    store.pipe_file("/clip.mp4", content)
    with zipfile.ZipFile(tmp_path / "shard.zip", "w") as shard:
        shard.writestr("clip.mp4", content)
    column = datasets.Dataset.from_dict({"video": [str(CLIP)]}).cast_column("video", datasets.Video(decode=False))
    return {
        "data URL": f"data:video/mp4;base64,{base64.b64encode(content).decode()}",
        "fsspec": "memory://clip.mp4",
        "chained fsspec": f"zip://clip.mp4::{tmp_path}/shard.zip",
        "video column": column[0]["video"],
        "video column with bytes": {"path": None, "bytes": content},
    }


@pytest.mark.parametrize("name", ["data URL", "fsspec", "chained fsspec", "video column", "video column with bytes"])
def test_encoded_sources(processor, expected, tmp_path, name):
    found = processor(sources(tmp_path)[name], return_tensors="pt")
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found["pixel_values_videos"], expected["pixel_values_videos"], rtol=0, atol=0)


def test_decoded_video_column(processor, expected):
    class Decoded:  # what datasets leaves on a torchcodec decoder
        _hf_encoded = {"path": str(CLIP), "bytes": None}

    found = processor(Decoded(), return_tensors="pt")
    torch.testing.assert_close(found["pixel_values_videos"], expected["pixel_values_videos"], rtol=0, atol=0)


def test_torchcodec_itself(processor, expected):
    decoders = pytest.importorskip("torchcodec.decoders", reason="needs torchcodec", exc_type=ImportError)
    column = datasets.Dataset.from_dict({"video": [str(CLIP)]}).cast_column("video", datasets.Video())
    assert isinstance(column[0]["video"], decoders.VideoDecoder)
    found = processor(column[0]["video"], return_tensors="pt")
    torch.testing.assert_close(found["pixel_values_videos"], expected["pixel_values_videos"], rtol=0, atol=0)

    decoder, options = decoders.VideoDecoder(str(CLIP)), {"video_backend": "frames", "return_tensors": "pt"}
    batch = decoder.get_frames_in_range(0, 8)
    for frames in (batch, decoder[0:8]):
        found, plain = processor(frames, **options), processor(batch.data.permute(0, 2, 3, 1).numpy(), **options)
        torch.testing.assert_close(found["pixel_values_videos"], plain["pixel_values_videos"])
    with pytest.raises(TypeError, match="has no motion vectors"):
        processor(decoder)


def test_frames_of_decord(processor):
    frames = np.random.default_rng(0).integers(0, 255, (8, 56, 56, 3), dtype=np.uint8)

    class NDArray:
        def asnumpy(self):
            return frames

    options = {"video_backend": "frames", "return_tensors": "pt"}
    found, plain = processor(NDArray(), **options), processor(frames, **options)
    torch.testing.assert_close(found["pixel_values_videos"], plain["pixel_values_videos"])


@pytest.mark.parametrize("image_format", ["png", "jpg"])
def test_archives_hold_the_stream(tmp_path, processor, expected, stream, image_format):
    content = write_archive(stream, image_format)
    assert content == write_archive(stream, image_format)
    path = tmp_path / "clip.zip"
    path.write_bytes(content)
    for source in (content, bytearray(content), memoryview(content), path, str(path), path.as_uri()):
        found = processor(source, return_tensors="pt")
        assert (found["video_patch_positions"] == expected["video_patch_positions"]).all()
        error = (found["pixel_values_videos"] - expected["pixel_values_videos"]).abs().max()
        assert error == 0 if image_format == "png" else error < 0.5
    read = read_archive(content)
    np.testing.assert_array_equal(read.timestamps, stream.timestamps)
    assert read.signal_source == list(stream.signal_source)


def test_options_that_an_archive_cannot_follow_are_said(processor, stream, monkeypatch):
    warned = []
    monkeypatch.setattr(video_processing_ov2.logger, "warning_once", warned.append)
    processor(write_archive(stream), num_frames=4)
    assert "`num_frames` has no effect" in warned[0]


def archive_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive_of({"../a": b""}), "no file of an asset folder"),
        (archive_of({"meta.json": b"{}"}), "meta.json"),
        (archive_of({})[:10] + b"xx", "cannot be read as an archive"),
    ],
)
def test_archives_of_something_else(content, message):
    with pytest.raises(VideoError, match=message):
        read_archive(content)


def test_large_archives_are_refused_before_they_are_unpacked(monkeypatch, stream):
    content = write_archive(stream)
    monkeypatch.setattr(archive_module, "MAX_ARCHIVE_BYTES", 1000)
    with pytest.raises(VideoError, match="more than 1000 bytes"):
        read_archive(content)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://missing.mp4", "cannot be opened"),
        ("nostore://a.mp4", "cannot be opened"),
        ("zip://a.mp4::https://example.com/a.zip", "http"),
        ("data:video/mp4,abc", "base64"),
        ("data:video/mp4;base64,é", "not valid base64"),
        ({"path": None, "bytes": None}, "neither"),
    ],
)
def test_sources_that_cannot_be_opened(processor, source, message):
    with pytest.raises(VideoError, match=message):
        processor(source)


def test_stores_obey_the_switch_and_the_limit(processor):
    fsspec.filesystem("memory").pipe_file("/clip.mp4", CLIP.read_bytes())
    with pytest.raises(VideoError, match="allow_network=False"):
        processor("memory://clip.mp4", allow_network=False)
    with pytest.raises(VideoError, match="max_download_bytes"):
        processor("memory://clip.mp4", max_download_bytes=1000)


def test_shards_train_as_they_are(tmp_path, stream):
    """Rows of a Parquet shard, through `to_sft_dataset` and the collator."""
    from transformers_ov2 import OV2Processor
    from transformers_ov2.training import OV2DataCollator, to_sft_dataset

    row = {"video": write_archive(stream, "png"), "question": "What happens?", "answer": "A ball bounces."}
    datasets.Dataset.from_list([row]).to_parquet(tmp_path / "000000.parquet")
    shards = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "*.parquet"), split="train", streaming=True, cache_dir=tmp_path / "cache"
    )
    (sample,) = to_sft_dataset(shards)
    collator = OV2DataCollator(OV2Processor.from_pretrained(ASSETS / "tiny-ov2"))
    batch = collator([sample])
    direct = collator([next(iter(to_sft_dataset([{**row, "video": str(CLIP)}])))])
    assert batch["video_grid_thw"].tolist() == [list(stream.grid_thw)]
    assert (batch["labels"] != -100).sum() == (direct["labels"] != -100).sum() > 0


def test_resolve_leaves_everything_else_alone():
    from transformers_ov2.codec.reading.network import NetworkLimits

    for source in (str(CLIP), CLIP, "https://example.com/a.mp4", b"bytes", np.zeros((1, 2, 3, 3))):
        assert resolve_source(source, NetworkLimits()) is source
