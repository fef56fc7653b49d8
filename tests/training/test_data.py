# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import PIL.Image
import pytest
from datasets import Dataset, IterableDataset

from transformers_ov2.training import read_canvases, to_sft_dataset, to_sft_row


def texts(row):
    return [
        "".join(block["text"] if block["type"] == "text" else f"<{block['type']}>" for block in message["content"])
        for message in row["messages"]
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"video": "a.mp4", "caption": "x"}, ["<video>Describe this video.", "x"]),
        ({"image": "a.png", "caption": "x"}, ["<image>Describe this image.", "x"]),
        ({"image": "a.png", "caption": "x", "patch_positions": []}, ["<image>Describe this image.", "x"]),
        ({"video": "a.mp4", "prompt": "What?", "caption": "x"}, ["<video>What?", "x"]),
        ({"video": "a.mp4", "question": "What?", "answer": "x"}, ["<video>What?", "x"]),
        ({"video": "a.mp4", "prompt": "What?", "completion": "x"}, ["<video>What?", "x"]),
        ({"prompt": "Hello", "completion": "x"}, ["Hello", "x"]),
        (
            {"images": ["a.png", "b.png"], "prompt": "<image> or <image>?", "completion": "x"},
            ["<image> or <image>?", "x"],
        ),
        ({"prompt": "What does <image> mean in HTML?", "completion": "x"}, ["What does <image> mean in HTML?", "x"]),
        (
            {
                "video": "a.mp4",
                "conversations": [{"from": "human", "value": "<video>\nGo"}, {"from": "gpt", "value": "x"}],
            },
            ["<video>\nGo", "x"],
        ),
        (
            {"video": "a.mp4", "preview": "[system] Be brief. [user] What? [assistant] x [user] And? [assistant] y"},
            ["Be brief.", "<video>What?", "x", "And?", "y"],
        ),
        (
            {
                "prompt": [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}],
                "completion": [{"role": "assistant", "content": "x"}],
            },
            ["<video>", "x"],
        ),
    ],
)
def test_text_and_places_of_media(row, expected):
    assert texts(to_sft_row(row)) == expected


def test_media_of_typed_blocks_and_columns_keep_their_order():
    row = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": "inline.png", "text": None},
                    {"type": "image", "image": None, "text": None},
                    {"type": "video", "video": "inline.mp4"},
                    {"type": "text", "text": "?", "image": None},
                ],
            },
            {"role": "assistant", "content": "x"},
        ],
        "images": ["column.png"],
    }
    converted = to_sft_row(row)
    assert converted["images"] == ["inline.png", "column.png"]
    assert converted["messages"][0]["content"] == [
        {"type": "image"},
        {"type": "image"},
        {"type": "video", "video": "inline.mp4"},
        {"type": "text", "text": "?"},
    ]


def test_options_of_a_video_block_stay():
    block = {"type": "video", "video": "a.mp4", "video_backend": "frames", "num_frames": 4}
    row = {"messages": [{"role": "user", "content": [block]}, {"role": "assistant", "content": "x"}]}
    assert to_sft_row(row)["messages"][0]["content"] == [block]


def test_relative_paths_start_from_the_media_root(tmp_path):
    row = to_sft_row({"video": "a.mp4", "images": ["/b.png", "http://host/c.png"], "caption": "x"}, tmp_path)
    assert row["images"] == ["/b.png", "http://host/c.png"]
    assert row["messages"][0]["content"][0] == {"type": "video", "video": f"{tmp_path}/a.mp4"} or (
        row["messages"][0]["content"][2] == {"type": "video", "video": f"{tmp_path}/a.mp4"}
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"video": "a.mp4"}, "needs `messages`"),
        (
            {"video": "a.mp4", "images": ["a.png"], "patch_positions": ["a.npy"], "caption": "x"},
            "and videos besides",
        ),
        (
            {"images": ["a.png"], "prompt": "<image> <image>", "completion": "x"},
            "2 places for a image, but it brings 1",
        ),
        ({"video": "a.mp4", "conversations": [{"from": "robot", "value": "x"}]}, "role 'robot'"),
        ({"video": "a.mp4", "preview": "What? [assistant] x"}, "does not start with"),
        ({"video": "a.mp4", "messages": [{"role": "assistant", "content": "x"}]}, "no user message"),
        ({"messages": [{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}]}, "'audio'"),
    ],
)
def test_wrong_rows_say_what_is_wrong(row, message):
    with pytest.raises(ValueError, match=message):
        to_sft_row({"id": 7, **row})


def test_jsonl_file_becomes_a_dataset(tmp_path, write_jsonl):
    path = write_jsonl(
        tmp_path / "rows.jsonl", [{"video": "a.mp4", "caption": "x"}, {"prompt": "p", "completion": "c"}]
    )
    dataset = to_sft_dataset(path)
    assert dataset.column_names == ["messages", "images"]
    assert dataset[0]["messages"][0]["content"][0] == {"type": "video", "video": f"{tmp_path}/a.mp4"}
    # No `None` for the keys of other blocks and rows, which Arrow would write.
    assert dataset[1]["messages"][0]["content"] == [{"type": "text", "text": "p"}]


def test_a_jsonl_file_is_read_again_when_it_changes(tmp_path, write_jsonl):
    for caption in ("x", "y", "z"):
        path = write_jsonl(tmp_path / "rows.jsonl", [{"image": "a.png", "caption": caption}])
        assert texts(to_sft_dataset(path)[0])[1] == caption


def test_wrong_lines_are_named(tmp_path, write_jsonl):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"image": "a.png", "caption": "x"}, {"image": "a.png"}])
    with pytest.raises(ValueError, match="rows.jsonl, line 2: .*needs `messages`"):
        to_sft_dataset(path)
    path.write_text("")
    with pytest.raises(ValueError, match="rows.jsonl is empty"):
        to_sft_dataset(path)
    path.write_text('{"image": "a.png"')
    with pytest.raises(ValueError, match="rows.jsonl, line 1: "):
        to_sft_dataset(path)


def test_dataset_and_iterable_dataset_give_the_rows_of_a_list():
    rows = [{"video": "a.mp4", "caption": "x", "extra": 1}, {"video": "b.mp4", "caption": "y", "extra": 2}]
    expected = list(to_sft_dataset(rows))
    assert list(to_sft_dataset(Dataset.from_list(rows))) == expected
    streamed = to_sft_dataset(Dataset.from_list(rows).to_iterable_dataset())
    assert isinstance(streamed, IterableDataset)
    assert list(streamed) == expected


def test_pictures_are_kept_in_a_dataset():
    row = {"image": PIL.Image.new("RGB", (30, 20), "red"), "caption": "x"}
    image = to_sft_dataset([row])[0]["images"][0]
    assert image.size == (30, 20) and image.getpixel((0, 0)) == (255, 0, 0)


def test_decoded_videos_need_an_iterable_dataset():
    rows = [{"video": np.zeros((2, 28, 28, 3), dtype=np.uint8), "caption": "x"}]
    with pytest.raises(TypeError, match="use an `IterableDataset`"):
        to_sft_dataset(rows)
    row = next(iter(to_sft_dataset(IterableDataset.from_generator(lambda: iter(rows)))))
    assert row["messages"][0]["content"][0]["video"] is rows[0]["video"]


def block_order(grid):
    """[canvases, rows, columns, 3] positions in merge-block order."""
    n, rows, columns, _ = grid.shape
    return grid.reshape(n, rows // 2, 2, columns // 2, 2, 3).swapaxes(2, 3).reshape(n, -1, 3)


@pytest.fixture
def canvases(tmp_path):
    """Five canvases of 2 x 4 patches: whole frames 0, 3, 6, ... at their own place."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 28, 56, 3), dtype=np.uint8)
    t, h, w = np.meshgrid(np.arange(5) * 3, np.arange(2), np.arange(4), indexing="ij")
    positions = np.stack([t, h, w], axis=-1)
    images = []
    for index, canvas in enumerate(pixels):
        PIL.Image.fromarray(canvas).save(tmp_path / f"{index}.png")
        images.append(str(tmp_path / f"{index}.png"))
    return tmp_path, images, pixels, positions


@pytest.mark.parametrize("order", ["row-major", "block"])
@pytest.mark.parametrize("one_file", [True, False])
def test_canvases_with_positions_become_a_stream(canvases, order, one_file):
    folder, images, pixels, positions = canvases
    stored = positions.reshape(5, -1, 3) if order == "row-major" else block_order(positions)
    files = [str(folder / "positions.npy")] if one_file else [str(folder / f"{i}.npy") for i in range(5)]
    for file, part in zip(files, [stored] if one_file else stored):
        np.save(file, part.astype(np.int32))

    stream = read_canvases(images, files, fps=2.0)
    np.testing.assert_array_equal(stream.canvases, pixels)
    np.testing.assert_array_equal(stream.patch_positions, positions.reshape(5, -1, 3))
    np.testing.assert_array_equal(stream.block_positions(), block_order(positions).reshape(-1, 3))
    assert stream.canvases_per_group.tolist() == [4, 1]
    assert stream.groups.tolist() == [[0, 12], [12, 13]]
    assert stream.seconds(stream.runs()[:, 0]).tolist() == [0.0, 1.5, 3.0, 4.5, 6.0]


def test_positions_that_are_no_blocks_are_refused(canvases):
    folder, images, _, positions = canvases
    np.save(folder / "p.npy", positions[:, ::-1])
    with pytest.raises(ValueError, match="no whole blocks"):
        read_canvases(images, [folder / "p.npy"], fps=2.0)
    np.save(folder / "p.npy", positions[:4])
    with pytest.raises(ValueError, match="need 40 positions, got 32"):
        read_canvases(images, [folder / "p.npy"], fps=2.0)


@pytest.mark.parametrize(
    "row",
    [
        {
            "messages": [{"role": "user", "content": "<image>" * 5 + "Go"}, {"role": "assistant", "content": "x"}],
            "images": [f"{i}.png" for i in range(5)],
            "patch_positions": [f"{i}.npy" for i in range(5)],
            "fps": 2.0,
            "timestamp_decimal": 2,
        },
        {
            "conversations": [{"from": "human", "value": "<image>\n" * 5 + "Go"}, {"from": "gpt", "value": "x"}],
            "image": [f"{i}.png" for i in range(5)],
            "positions_thw": "all.npy",
        },
    ],
    ids=["unpacked", "older"],
)
def test_canvases_in_published_formats_become_one_video(row):
    converted = to_sft_row(row, "/data")
    block, text = converted["messages"][0]["content"]
    assert converted["images"] == []
    assert text["text"].strip() == "Go"
    assert block["canvases"] == [f"/data/{i}.png" for i in range(5)]
    assert block["patch_positions"] in ([f"/data/{i}.npy" for i in range(5)], ["/data/all.npy"])
    assert block.get("timestamp_decimals") == row.get("timestamp_decimal")
    json.dumps(converted)


def test_canvases_need_as_many_markers():
    row = {"prompt": "<image><image>", "completion": "x", "images": ["0.png"] * 3, "patch_positions": ["p.npy"] * 3}
    with pytest.raises(ValueError, match="as many adjacent <image> markers, found 2"):
        to_sft_row(row)
