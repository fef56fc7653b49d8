# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from transformers_ov2.codec import CodecStreamConfig


RELEASED = {
    "target_canvas": 32,
    "group_size": 32,
    "images_per_group": 4,
    "patch": 14,
    "max_pixels": 150000,
    "min_group_frames": 8,
    "max_group_frames": 64,
    "spatial_mask_mode": "off",
}


def test_defaults_are_those_of_the_released_checkpoint():
    config = CodecStreamConfig()
    assert {key: getattr(config, key) for key in RELEASED} == RELEASED


def test_released_codec_block_is_known():
    assert CodecStreamConfig.from_dict(RELEASED) == CodecStreamConfig()


def test_dict_round_trip_through_json():
    config = CodecStreamConfig(target_canvas=7, selection="state", max_tokens=900, crowding_penalty=0.5)
    assert CodecStreamConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_numpy_integers_become_plain_ones():
    assert type(CodecStreamConfig(target_canvas=np.int64(8)).to_dict()["target_canvas"]) is int


def test_immutable():
    with pytest.raises(AttributeError):
        CodecStreamConfig().target_canvas = 8


def test_replace():
    config = CodecStreamConfig(selection="state").replace(target_canvas=4)
    assert (config.selection, config.target_canvas) == ("state", 4)


def test_unknown_key_names_the_closest_option():
    with pytest.raises(ValueError, match="`target_canvases` is no option.*Did you mean `target_canvas`"):
        CodecStreamConfig.from_dict({"target_canvases": 4})


def test_unknown_key_lists_the_options():
    with pytest.raises(ValueError, match="`zzz` is no option.*target_canvas, images_per_group"):
        CodecStreamConfig().replace(zzz=1)


INTEGERS = [
    "target_canvas",
    "images_per_group",
    "group_size",
    "patch",
    "merge",
    "min_pixels",
    "max_pixels",
    "source_frames_per_canvas",
    "frame_budget",
    "min_group_frames",
    "max_group_frames",
    "max_tokens",
]


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [0, -1])
def test_integers_below_one_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got {value}"):
        CodecStreamConfig(**{name: value})


@pytest.mark.parametrize("name", [*INTEGERS, "num_threads"])
@pytest.mark.parametrize("value", [1.5, "8", True])
def test_integers_of_another_type_are_refused(name, value):
    with pytest.raises(TypeError, match=f"`{name}` must be an integer"):
        CodecStreamConfig(**{name: value})


@pytest.mark.parametrize(
    ("seconds", "groups"), [(0.04, 1), (11.9, 1), (12.1, 2), (32, 4), (123.9, 15), (128, 16), (7200, 16)]
)
def test_automatic_number_of_canvases(seconds, groups):
    assert CodecStreamConfig(target_canvas="auto").num_canvases(seconds) == 4 * groups
    assert CodecStreamConfig(target_canvas="auto", images_per_group=8).num_canvases(seconds) == 8 * groups
    assert CodecStreamConfig(target_canvas=5).num_canvases(seconds) == 5


def test_other_words_than_auto_are_refused():
    with pytest.raises(TypeError, match="`target_canvas` must be an integer or \"auto\", got 'all'"):
        CodecStreamConfig(target_canvas="all")


def test_negative_threads_are_refused():
    with pytest.raises(ValueError, match="`num_threads` must be at least 0"):
        CodecStreamConfig(num_threads=-1)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_crowding_penalty_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="`crowding_penalty` must be finite and at least 0"):
        CodecStreamConfig(crowding_penalty=value)


def test_crowding_penalty_of_another_type_is_refused():
    with pytest.raises(TypeError, match="`crowding_penalty` must be a number"):
        CodecStreamConfig(crowding_penalty="high")


@pytest.mark.parametrize("name", ["grouping", "selection", "bit_source", "spatial_mask_mode"])
def test_unknown_choices_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must be one of .*, got 'other'"):
        CodecStreamConfig(**{name: "other"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_pixels": 5000, "max_pixels": 4000}, "`min_pixels`.*must not exceed `max_pixels`"),
        ({"min_group_frames": 9, "max_group_frames": 8}, "`min_group_frames`.*must not exceed `max_group_frames`"),
        ({"min_pixels": 1, "max_pixels": 783}, "`max_pixels`.*one block.*784"),
        ({"grouping": "readiness", "max_tokens": 1000}, "`max_tokens` needs"),
        ({"grouping": "readiness", "images_per_group": 9}, "`min_group_frames`.*`images_per_group`"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        CodecStreamConfig(**fields)
