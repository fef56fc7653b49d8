# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import copy
import json
import logging

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from transformers_ov2 import OV2Config, OV2VisionConfig


def read_hub_config(fixtures) -> dict:
    return json.loads((fixtures / "hub_layout" / "config.json").read_text())


def test_every_number_comes_from_the_file(fixtures):
    raw = read_hub_config(fixtures)
    config = OV2Config(**raw)
    for section in ("text_config", "vision_config"):
        sub_config = getattr(config, section).to_dict()
        for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
            assert sub_config[key] == raw[section][key]
    assert config.vision_config.spatial_merge_size == raw["vision_config"]["spatial_merge_size"]
    assert config.text_config.rope_parameters == raw["text_config"]["rope_parameters"]
    assert [config.image_token_id, config.video_token_id] == [990, 991]
    assert [config.eos_token_id, config.pad_token_id] == [982, 980]


def test_flat_and_nested_rope_theta_are_both_read():
    flat = OV2Config(text_config={"model_type": "qwen3", "rope_theta": 8e6}, vision_config={"rope_theta": 5e3})
    nested = OV2Config(
        text_config={"model_type": "qwen3", "rope_parameters": {"rope_type": "default", "rope_theta": 8e6}},
        vision_config={"rope_parameters": {"rope_type": "axial", "rope_theta": 5e3}},
    )
    for config in (flat, nested):
        assert config.text_config.rope_parameters["rope_theta"] == 8e6
        assert config.vision_config.rope_parameters["rope_theta"] == 5e3


def test_special_tokens_default_to_the_decoder(fixtures):
    raw = read_hub_config(fixtures)
    raw.pop("eos_token_id"), raw.pop("pad_token_id")
    config = OV2Config(**raw)
    assert config.eos_token_id == raw["text_config"]["eos_token_id"]
    assert config.pad_token_id == raw["text_config"]["pad_token_id"]


def test_legacy_keys_are_tolerated_and_not_written_again(fixtures, tmp_path):
    OV2Config(**read_hub_config(fixtures)).save_pretrained(tmp_path)
    saved = (tmp_path / "config.json").read_text()
    for name in ("text_hidden_size", "use_patch_position_encoding", "tokens_per_second", "max_position_embeddings"):
        assert name not in json.loads(saved)["vision_config"]
    assert "auto_map" not in saved


def test_no_auto_map_is_written_again(fixtures, tmp_path):
    raw = read_hub_config(fixtures)
    for section in (raw, raw["text_config"], raw["vision_config"]):
        section["auto_map"] = {"AutoConfig": "configuration_remote.RemoteConfig"}
    OV2Config(**raw).save_pretrained(tmp_path)
    assert "auto_map" not in (tmp_path / "config.json").read_text()


def test_auto_map_is_readable_and_empty(fixtures):
    config = AutoConfig.from_pretrained(fixtures / "hub_layout")
    assert type(config) is OV2Config
    assert config.auto_map == {}


def test_save_and_load_keep_everything(tiny_config, tmp_path):
    config = tiny_config(vision={"patch_size": 16, "spatial_merge_size": 3, "frame_windows_size": 8})
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == config.to_diff_dict()


@pytest.mark.parametrize("model_type", ["qwen3", "qwen2", "qwen3_moe"])
def test_text_config_is_chosen_by_its_model_type(model_type):
    config = OV2Config(text_config={"model_type": model_type, "hidden_size": 64})
    assert config.text_config.model_type == model_type
    assert config.vision_config.out_hidden_size == 64


def test_vision_model_type_of_a_file_may_be_any():
    assert type(OV2Config(vision_config={"model_type": "something_else"}).vision_config) is OV2VisionConfig


def test_tied_embeddings_of_the_decoder_count():
    assert OV2Config(text_config={"model_type": "qwen3", "tie_word_embeddings": True}).tie_word_embeddings


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"spatial_merge_size": 0}, "spatial_merge_size"),
        ({"frame_windows_size": 0}, "frame_windows_size"),
        ({"patch_size": -14}, "patch_size"),
        ({"temporal_patch_size": 2}, "temporal_patch_size"),
        ({"hidden_size": 100, "num_attention_heads": 16}, "num_attention_heads"),
        ({"hidden_size": 1024, "num_attention_heads": 64}, "4:6:6"),
        ({"layer_norm_type": "batch_norm"}, "layer_norm_type"),
        ({"use_patch_position_encoding": True}, "use_patch_position_encoding"),
        ({"hidden_size": "large"}, "hidden_size"),
    ],
)
def test_bad_vision_values_name_their_field(values, field):
    with pytest.raises((ValueError, StrictDataclassError), match=field):
        OV2VisionConfig(**values)


def test_sub_configs_must_fit():
    with pytest.raises(StrictDataclassError, match="out_hidden_size"):
        OV2Config(text_config={"model_type": "qwen3", "hidden_size": 64}, vision_config={"out_hidden_size": 128})


def test_dtype_is_read(fixtures):
    assert OV2Config(**{**read_hub_config(fixtures), "dtype": "bfloat16"}).dtype == torch.bfloat16


def test_the_callers_objects_stay_as_they_are(fixtures):
    raw = read_hub_config(fixtures)
    raw["text_config"]["rope_parameters"] = {"rope_theta": 8e6}
    raw["vision_config"]["rope_parameters"] = {"rope_theta": 5e3}
    raw["vision_config"].pop("out_hidden_size", None)
    before = copy.deepcopy(raw)
    config = OV2Config(**raw)
    assert raw == before
    rope_parameters = {"rope_theta": 5e3}
    vision_config = OV2VisionConfig(rope_parameters=rope_parameters)
    assert rope_parameters == {"rope_theta": 5e3}
    text_config = config.text_config
    text_config.tie_word_embeddings = True
    config = OV2Config(text_config=text_config, vision_config=vision_config)
    config.tie_word_embeddings = False
    assert vision_config.out_hidden_size is None and text_config.tie_word_embeddings


@pytest.mark.parametrize("tied", [True, False])
def test_tying_is_the_same_at_both_levels(tied, tmp_path):
    given_beside = OV2Config(text_config={"model_type": "qwen3"}, tie_word_embeddings=tied)
    given_inside = OV2Config(text_config={"model_type": "qwen3", "tie_word_embeddings": tied})
    changed = OV2Config(text_config={"model_type": "qwen3", "tie_word_embeddings": not tied})
    changed.tie_word_embeddings = tied
    for config in (given_beside, given_inside, changed):
        config.save_pretrained(tmp_path)
        for known in (config, AutoConfig.from_pretrained(tmp_path)):
            assert known.tie_word_embeddings is tied and known.text_config.tie_word_embeddings is tied


def test_contradicting_tying_is_said(caplog):
    logging.getLogger("transformers").addHandler(caplog.handler)
    config = OV2Config(text_config={"model_type": "qwen3", "tie_word_embeddings": True}, tie_word_embeddings=False)
    logging.getLogger("transformers").removeHandler(caplog.handler)
    assert config.tie_word_embeddings and config.text_config.tie_word_embeddings
    assert "set both to false" in caplog.text
