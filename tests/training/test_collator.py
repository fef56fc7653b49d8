# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import json
import pickle
import re

import av
import numpy as np
import PIL.Image
import pytest
import torch
from tiny_clips import answer_row
from torch.utils.data import DataLoader
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from transformers_ov2.codec import tokenize_video
from transformers_ov2.codec.packing.assets import write_assets
from transformers_ov2.training import CodecStreamCache, OV2DataCollator, pretokenize, to_sft_dataset
from transformers_ov2.training import cache as cache_module


@pytest.fixture
def dataset(mixed_rows):
    return to_sft_dataset(mixed_rows)


def assert_batches_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("assistant_only_loss", [False, True])
@pytest.mark.parametrize("backend", ["codec", "frames"])
def test_batches_are_those_of_trls_collator(processor, dataset, backend, assistant_only_loss, tmp_path):
    processor.video_processor.video_backend = backend
    theirs = DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=assistant_only_loss)
    ours = OV2DataCollator(processor, assistant_only_loss, cache=CodecStreamCache(tmp_path))
    expected = dict(theirs([dict(row) for row in dataset]))
    assert_batches_equal(ours(list(dataset)), expected)
    assert_batches_equal(ours(list(dataset)), expected)  # from the cache


def test_labels_are_the_answers(processor, dataset):
    labels = OV2DataCollator(processor)(list(dataset))["labels"]
    answers = [processor.tokenizer.decode(row[row != -100]) for row in labels]
    assert answers == ["a red one<|im_end|>", "it moves<|im_end|>", "Hi.<|im_end|>", "both<|im_end|>"]


def test_prompts_end_where_the_answer_starts(processor, dataset):
    collator = OV2DataCollator(processor)
    for row in dataset:
        prompt, sample = collator.encode_prompt(row), collator.encode(row)
        length = prompt["input_ids"].shape[1]
        assert torch.equal(prompt.pop("input_ids"), sample["input_ids"][:, :length])
        assert sample["labels"][0].tolist().index(sample["input_ids"][0, length]) == length
        for name in prompt.keys() - {"attention_mask"}:
            torch.testing.assert_close(prompt[name], sample[name], rtol=0, atol=0)


def test_videos_bring_their_own_options(processor, media):
    clip = str(media / "0.mp4")
    collator = OV2DataCollator(processor)
    codec, frames = (
        to_sft_dataset([answer_row("video", clip, "x", **options)])[0]
        for options in (
            {"codec": {"target_canvas": 2}, "timestamp_decimals": 2},
            {"video_backend": "frames", "num_frames": 5, "frame_window_size": 4},
        )
    )
    batch = collator([codec, frames])
    assert batch["video_grid_thw"].tolist() == [[2, 4, 4], [5, 4, 4]]
    assert batch["video_window_sizes"].tolist() == [2, 4]
    stream = processor.video_processor(clip, codec={"target_canvas": 2}, return_metadata=True)["video_metadata"][0]
    written = re.findall(r"<(\S+) seconds>", processor.tokenizer.decode(batch["input_ids"][0]))
    assert len(written) > 1 and written == [f"{seconds:.2f}" for seconds in stream.seconds]
    expected = processor.video_processor(clip, video_backend="frames", num_frames=5)["pixel_values_videos"]
    torch.testing.assert_close(batch["pixel_values_videos"][-len(expected) :], expected, rtol=0, atol=0)


def test_both_backends_in_one_sample(processor, media):
    row = answer_row("video", str(media / "0.mp4"), "x")
    row["messages"][0]["content"].append({"type": "video", "video": str(media / "1.mp4"), "video_backend": "frames"})
    sample = OV2DataCollator(processor).encode(to_sft_dataset([row])[0])
    assert sample["video_grid_thw"].tolist() == [[4, 4, 4], [3, 4, 4]]
    assert sample["video_window_sizes"].tolist() == [4, 1]


def test_decoded_frames_keep_their_times(processor, media):
    frames = np.arange(4 * 56 * 56 * 3, dtype=np.uint8).reshape(4, 56, 56, 3)
    rows = [answer_row("video", None, "x") for _ in range(2)]
    metadata = {"fps": 8.0, "total_num_frames": 20, "frames_indices": [0, 5, 10, 19]}
    options = {"video_backend": "frames", "video_metadata": metadata, "timestamp_decimals": 2}
    rows[0]["messages"][0]["content"][0] = {"type": "video", "video": frames, **options}
    # Beside a video that has no metadata.
    stream = tokenize_video(media / "0.mp4", target_canvas=1, max_pixels=56 * 56)
    rows[0]["messages"][0]["content"].append({"type": "video", "video": stream})
    sample = OV2DataCollator(processor).encode({**rows[0], "images": []})
    written = re.findall(r"<([0-9.]+) seconds>", processor.tokenizer.decode(sample["input_ids"][0]))
    assert written[:4] == ["0.00", "0.62", "1.25", "2.38"] and len(written) == 5
    assert sample["video_patch_positions"][:16, 0].tolist() == [0] * 16
    assert sample["video_patch_positions"][:, 0].unique().tolist() == [0, 5, 10, 19]


def test_canvases_with_positions(processor, media, tmp_path):
    stream = tokenize_video(media / "0.mp4", target_canvas=4, max_pixels=56 * 56)
    row = {"prompt": "<image>" * 4 + "?", "completion": "x", "images": [], "patch_positions": [], "fps": stream.fps}
    for index, (canvas, positions) in enumerate(zip(stream.canvases, stream.patch_positions)):
        PIL.Image.fromarray(canvas).save(tmp_path / f"{index}.png")
        np.save(tmp_path / f"{index}.npy", positions)
        row["images"].append(f"{index}.png")
        row["patch_positions"].append(f"{index}.npy")
    collator = OV2DataCollator(processor)
    expected = collator.encode(to_sft_dataset([{"video": str(media / "0.mp4"), "prompt": "?", "completion": "x"}])[0])
    assert_batches_equal(collator.encode(to_sft_dataset([row], tmp_path)[0]), expected)


def test_asset_folders(processor, media, tmp_path):
    stream = tokenize_video(media / "0.mp4", target_canvas=4, max_pixels=56 * 56)
    write_assets(stream, tmp_path / "assets", image_format="png")
    collator = OV2DataCollator(processor, cache=CodecStreamCache(tmp_path / "cache"))
    expected, sample = (
        collator.encode(to_sft_dataset([{"video": str(path), "caption": "x"}])[0])
        for path in (media / "0.mp4", tmp_path / "assets")
    )
    assert_batches_equal(sample, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"video_backend": "frames", "frames": 4}, "`frames` is no option of a video block"),
        ({"num_frames": 4, "video_backend": "codec"}, "`num_frames` is for whole frames"),
        ({"codec": {"canvases": 4}}, "`canvases` is no option"),
    ],
)
def test_wrong_options_of_a_video_are_refused(processor, media, options, message):
    row = to_sft_dataset([answer_row("video", str(media / "0.mp4"), "x", **options)])[0]
    with pytest.raises(ValueError, match=message):
        OV2DataCollator(processor).encode(row)


def test_a_template_without_generation_markers_is_refused(processor):
    processor.chat_template = "{{ messages[0].content }}"
    with pytest.raises(ValueError, match="generation"):
        OV2DataCollator(processor)
    OV2DataCollator(processor, assistant_only_loss=False)


@pytest.fixture
def bad_rows(tmp_path):
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "noise.png").write_bytes(b"\x89PNG no picture")
    return [
        answer_row("video", str(tmp_path / "noise.mp4"), "x"),
        answer_row("video", str(tmp_path / "missing.mp4"), "x", video_backend="frames"),
        answer_row("image", str(tmp_path / "noise.png"), "x"),
    ]


def test_bad_samples_are_left_out_and_written_down(processor, dataset, bad_rows, tmp_path):
    collator = OV2DataCollator(processor, bad_samples=tmp_path / "bad.jsonl")
    good = list(dataset)
    bad = list(to_sft_dataset(bad_rows))
    batch = collator([bad[0], *good[:2], bad[1], *good[2:], bad[2]])
    assert_batches_equal(batch, OV2DataCollator(processor)(good))
    lines = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [line["media"][0].rsplit("/")[-1] for line in lines] == ["noise.mp4", "missing.mp4", "noise.png"]
    assert "noise.mp4" in lines[0]["error"] and "missing.mp4" in lines[1]["error"]


def test_a_batch_of_bad_samples_has_no_labels(processor, bad_rows, model):
    batch = OV2DataCollator(processor)(list(to_sft_dataset(bad_rows)))
    assert (batch["labels"] == -100).all()
    assert batch["image_grid_thw"].tolist() == [[1, 2, 2]] and batch["video_grid_thw"].tolist() == [[1, 2, 2]]
    assert torch.isfinite(model(**{**batch, "labels": None}).logits).all()


def test_samples_over_the_limit_are_left_out(processor, dataset):
    rows = list(dataset)
    lengths = [OV2DataCollator(processor).encode(row)["input_ids"].shape[1] for row in rows]
    collator = OV2DataCollator(processor, max_length=min(lengths))
    assert collator(rows)["input_ids"].shape == (lengths.count(min(lengths)), min(lengths))


def test_a_data_set_that_cannot_be_read_is_an_error(processor, bad_rows):
    collator = OV2DataCollator(processor)
    rows = list(to_sft_dataset(bad_rows))
    with pytest.raises(RuntimeError, match="16 of 16 samples could not be used"):
        for index in range(100):
            collator([rows[index % 3]])


@pytest.mark.parametrize("kinds", [("image",), ("video",), (), ("image", "video")])
def test_every_modality_without_a_change_of_the_loss(processor, media, model, kinds):
    row = answer_row("text", "Hello", "an answer")
    for kind in kinds:
        row["messages"][0]["content"].insert(
            0, {"type": kind, kind: str(media / f"0.{'png' if kind == 'image' else 'mp4'}")}
        )
    rows = list(to_sft_dataset([row]))
    plain = OV2DataCollator(processor)(rows)
    full = OV2DataCollator(processor, every_modality=True)(rows)
    assert {"pixel_values", "pixel_values_videos"} <= full.keys()
    assert len(full["input_ids"]) == (1 if len(kinds) == 2 else 2)
    torch.testing.assert_close(model(**full).loss, model(**plain).loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_give_the_batches_of_the_main_process(processor, dataset, method, tmp_path, bad_rows):
    rows = to_sft_dataset([*dataset, *bad_rows[:1], *dataset])
    expected = list(DataLoader(rows, batch_size=2, collate_fn=OV2DataCollator(processor)))
    collator = OV2DataCollator(processor, cache=CodecStreamCache(tmp_path / "c"), bad_samples=tmp_path / "bad.jsonl")
    loader = DataLoader(
        rows, batch_size=2, collate_fn=collator, num_workers=1 + (method == "fork"), multiprocessing_context=method
    )
    batches = list(loader)
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected):
        assert_batches_equal(batch, other)
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 1


def test_a_collator_can_be_pickled(processor, dataset):
    collator = OV2DataCollator(processor)
    assert_batches_equal(pickle.loads(pickle.dumps(collator))(list(dataset)), collator(list(dataset)))


@pytest.mark.parametrize("num_proc", [None, 2])
def test_pretokenized_samples(processor, mixed_rows, bad_rows, num_proc, tmp_path):
    # Starts torch's threads: forks of a process that has some must not wait for them.
    torch.ones(2_000_000).mul(2)
    rows = to_sft_dataset([*mixed_rows, bad_rows[0]])
    collator = OV2DataCollator(processor, cache=CodecStreamCache(tmp_path / "cache"))
    measured = pretokenize(rows, collator, num_proc=num_proc)
    assert measured.column_names == ["messages", "images", "length", "error"]
    assert list(measured["length"])[:4] == [collator.encode(row)["input_ids"].shape[1] for row in list(rows)[:4]]
    assert list(measured["error"])[:4] == [None] * 4
    assert measured[4]["length"] == 0 and measured[4]["error"].startswith("VideoError")
    assert list(measured["messages"]) == list(rows["messages"])
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2


class Stop(BaseException):
    pass


def test_pretokenization_goes_on_where_it_stopped(processor, media, tmp_path, monkeypatch):
    rows = to_sft_dataset([answer_row("video", str(media / f"{index}.mp4"), "x") for index in range(6)])
    collator = OV2DataCollator(processor, cache=CodecStreamCache(tmp_path / "cache"))
    names = []

    def tokenize_four(source, *args, **kwargs):
        if len(names) == 4:
            raise Stop
        names.append(source.name)
        return tokenize_video(source, *args, **kwargs)

    monkeypatch.setattr(cache_module, "tokenize_video", tokenize_four)
    with pytest.raises(Stop):
        pretokenize(rows, collator)
    first, names[:] = list(names), []
    assert pretokenize(rows, collator)["error"][:] == [None] * 6
    assert first + names == [str(media / f"{index}.mp4") for index in range(6)]


def test_a_truncated_clip_gives_what_can_be_decoded_or_is_left_out(processor, media, tmp_path):
    content = (media / "0.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises((ValueError, av.FFmpegError)):
        OV2DataCollator(processor).encode(to_sft_dataset([answer_row("video", str(tmp_path / "cut.mp4"), "x")])[0])
