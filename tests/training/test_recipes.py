# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from datasets import Dataset

from transformers_ov2.training import load_sources, mix, read_recipe, with_video_options


RECIPE = """
train: [merger]
global_batch: 16
max_length: 512
sources:
  codec: {data: codec.jsonl, weight: 4, video: {codec: {target_canvas: 8}}}
  images: {data: images.jsonl, weight: 1}
trainer: {learning_rate: 1.0e-4}
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_is_read(recipe_file):
    recipe = read_recipe(recipe_file)
    assert recipe.train == ["merger"] and recipe.global_batch == 16 and recipe.max_length == 512
    assert recipe.trainer == {"learning_rate": 1e-4}
    assert recipe.sources["codec"].video == {"codec": {"target_canvas": 8}}
    assert recipe.sources["images"].weight == 1.0 and recipe.sources["images"].video == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train: [merger]", "", "`train` is missing"),
        ("train: [merger]", "train: [head]", "`train` names"),
        ("max_length", "length", "`length` is none of"),
        ("weight: 1", "weight: 0", "weight of source images"),
        ("weight: 1", "wheight: 1", "`weight` is missing"),
        ("target_canvas: 8}", "target_canvas: 8}, frames: 8", "`frames` of source codec"),
    ],
)
def test_wrong_recipes_are_refused(recipe_file, old, new, message):
    recipe_file.write_text(RECIPE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_recipe(recipe_file)


def test_sources_have_the_options_of_the_recipe(recipe_file, tmp_path, write_jsonl):
    write_jsonl(tmp_path / "codec.jsonl", [{"video": "a.mp4", "caption": "x"}])
    write_jsonl(tmp_path / "images.jsonl", [{"image": "a.png", "caption": "x"}])
    sources = load_sources(read_recipe(recipe_file), tmp_path)
    assert sources["codec"][0]["messages"][0]["content"][0] == {
        "type": "video",
        "video": f"{tmp_path}/a.mp4",
        "codec": {"target_canvas": 8},
    }
    assert sources["images"][0]["images"] == [f"{tmp_path}/a.png"]


def test_options_of_a_row_win_over_those_of_its_source():
    block = {"type": "video", "video": "a.mp4", "num_frames": 2}
    rows = Dataset.from_list([{"messages": [{"role": "user", "content": [block]}], "images": []}])
    options = with_video_options(rows, {"num_frames": 8, "video_backend": "frames"})[0]["messages"][0]["content"][0]
    assert options["num_frames"] == 2 and options["video_backend"] == "frames"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_mix_has_the_shares_of_its_weights(streaming):
    sources = {name: Dataset.from_dict({"source": [name] * 1000}) for name in ("codec", "frames", "images")}
    if streaming:
        sources = {name: source.to_iterable_dataset() for name, source in sources.items()}
    mixed = mix(sources, {"codec": 4.0, "frames": 3.0, "images": 1.0}, seed=0)
    names = [row["source"] for _, row in zip(range(800), mixed)]
    assert names.count("codec") / 800 == pytest.approx(0.5, abs=0.05)
    assert names.count("frames") / 800 == pytest.approx(0.375, abs=0.05)
    assert names.count("images") / 800 == pytest.approx(0.125, abs=0.05)
    assert [row["source"] for _, row in zip(range(800), mix(sources, {"codec": 4, "frames": 3, "images": 1}))] == names


def test_every_source_is_seen_whole():
    sources = {name: Dataset.from_dict({"row": [f"{name}{i}" for i in range(20)]}) for name in ("a", "b")}
    assert len(set(mix(sources, {"a": 9, "b": 1})["row"])) == 40


def test_sources_and_weights_have_the_same_names():
    with pytest.raises(ValueError, match="the weights those of"):
        mix({"a": Dataset.from_dict({"x": [1]})}, {"b": 1.0})
