# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoVideoProcessor,
    CLIPImageProcessor,
    Qwen2VLImageProcessorPil,
    pipeline,
)

from transformers_ov2 import (
    OneVisionEncoderConfig,
    OneVisionEncoderModel,
    OV2Config,
    OV2ForConditionalGeneration,
    OV2VideoProcessor,
    OV2VisionConfig,
    OV2VisionModel,
)


CASES = ("image", "video", "video_positions", "video_sparse")
TOLERANCE = {"atol": 1e-5, "rtol": 0}
# As the published repository has it, at the size of the fixture.
CLIP_PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_center_crop": True,
    "crop_size": {"height": 84, "width": 84},
    "size": {"shortest_edge": 84},
}


@pytest.fixture(scope="module")
def checkpoint(fixtures):
    return fixtures / "encoder"


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def encoder(request, checkpoint):
    return AutoModel.from_pretrained(checkpoint, attn_implementation=request.param, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def repository(checkpoint, tmp_path_factory):
    """The checkpoint with the preprocessing file of the published repository."""
    folder = tmp_path_factory.mktemp("encoder")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(checkpoint / name, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(CLIP_PREPROCESSOR))
    return folder


@pytest.fixture
def image():
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8))


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (8, 56, 84, 3), dtype=np.uint8)


# Parity with the reference


@pytest.mark.parametrize("name", CASES)
def test_features_match_reference(encoder, checkpoint, name):
    inputs = load_file(checkpoint / f"{name}.safetensors")
    last_hidden_state, pooler_output = inputs.pop("last_hidden_state"), inputs.pop("pooler_output")
    with torch.no_grad():
        outputs = encoder(**inputs)
    torch.testing.assert_close(outputs.last_hidden_state, last_hidden_state, **TOLERANCE)
    torch.testing.assert_close(outputs.pooler_output, pooler_output, **TOLERANCE)


# Loading and saving


def test_auto_classes_know_the_layout(checkpoint):
    assert type(AutoConfig.from_pretrained(checkpoint)) is OneVisionEncoderConfig
    model, report = AutoModel.from_pretrained(checkpoint, output_loading_info=True)
    assert type(model) is OneVisionEncoderModel
    assert not any(report.values())


@pytest.mark.parametrize("trust_remote_code", [None, False, True])
def test_remote_code_never_runs(checkpoint, trust_remote_code):
    # `auto_map` names files that are not there: reaching for them would fail.
    model = AutoModel.from_pretrained(checkpoint, trust_remote_code=trust_remote_code)
    assert type(model) is OneVisionEncoderModel


def test_published_defaults_need_no_file_entry(checkpoint, tmp_path):
    """The original class has `use_head=True` by default, so a file need not say it."""
    config = json.loads((checkpoint / "config.json").read_text())
    del config["use_head"], config["rope_temporal_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.use_head and config.rope_temporal_size == 64


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "built"])
def test_saved_file_is_the_published_layout(checkpoint, tmp_path, loaded):
    if loaded:
        model = AutoModel.from_pretrained(checkpoint)
    else:
        model = OneVisionEncoderModel(OneVisionEncoderConfig.from_pretrained(checkpoint))
    model.save_pretrained(tmp_path)
    original, saved = load_file(checkpoint / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert saved.keys() == original.keys()
    if loaded:
        assert all(torch.equal(saved[name], original[name]) for name in original)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert type(reloaded) is OneVisionEncoderModel
    assert all(torch.equal(a, b) for a, b in zip(reloaded.parameters(), model.parameters()))


def test_encoder_without_head(checkpoint, tmp_path):
    config = OneVisionEncoderConfig.from_pretrained(checkpoint, use_head=False)
    OneVisionEncoderModel(config).save_pretrained(tmp_path)
    assert not any(name.startswith(("head", "layernorm_post")) for name in load_file(tmp_path / "model.safetensors"))
    model, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model) is OneVisionEncoderModel and not model.config.use_head
    assert not any(report.values())
    assert model(torch.randn(1, 3, 28, 28)).pooler_output is None


def test_every_weight_is_initialised():
    model = OneVisionEncoderModel(
        OneVisionEncoderConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2)
    )
    assert 0.01 < model.head.probe.std() < 0.03
    assert torch.isfinite(model(torch.randn(1, 3, 28, 28)).pooler_output).all()


# The same model type inside a full model


def test_vision_tower_of_a_full_model(fixtures):
    full = OV2ForConditionalGeneration.from_pretrained(fixtures / "model")
    tower, report = OV2VisionModel.from_pretrained(fixtures / "model", output_loading_info=True)
    assert not any(report.values())
    assert type(tower.config) is OV2VisionConfig
    weights = full.model.visual.state_dict()
    assert weights.keys() == tower.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in tower.state_dict().items())


def test_vision_tower_saved_alone_stays_a_tower(fixtures, tmp_path):
    tower = OV2VisionModel.from_pretrained(fixtures / "model")
    tower.save_pretrained(tmp_path)
    reloaded, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(reloaded) is OV2VisionModel and type(reloaded.config) is OV2VisionConfig
    assert not any(report.values())
    assert all(torch.equal(a, b) for a, b in zip(reloaded.parameters(), tower.parameters()))


def test_full_model_with_head(tiny_config, tmp_path):
    """The merger joins normed patches; the head is kept for the file and never read."""
    model = OV2ForConditionalGeneration(tiny_config(vision={"use_head": True})).eval()
    visual = model.model.visual
    visual.layernorm_post.weight.data.uniform_(0.5, 2)
    model.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert {"model.visual.layernorm_post.weight", "model.visual.head.attention.in_proj_weight"} <= names
    assert "model.visual.encoder.layers.0.self_attn.qkv.weight" in names
    reloaded, report = OV2ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert type(reloaded.config.vision_config) is OV2VisionConfig and reloaded.config.vision_config.use_head

    pixel_values, grid = torch.randn(16, 588), torch.tensor([[1, 4, 4]])
    before_norm = []
    visual.encoder.register_forward_hook(lambda module, args, output: before_norm.append(output))
    torch.nn.init.constant_(reloaded.model.visual.head.probe, torch.nan)
    with torch.no_grad():
        outputs, again = visual(pixel_values, grid), reloaded.eval().model.visual(pixel_values, grid)
        expected = visual.layernorm_post(before_norm[0])
        torch.testing.assert_close(outputs.last_hidden_state, expected)
        torch.testing.assert_close(outputs.pooler_output, visual.merger(expected))
    torch.testing.assert_close(again.pooler_output, outputs.pooler_output)


def test_encoder_config_serves_a_full_model(checkpoint):
    vision_config = AutoConfig.from_pretrained(checkpoint)
    config = OV2Config(text_config={"model_type": "qwen3", "hidden_size": 64}, vision_config=vision_config.to_dict())
    assert type(config.vision_config) is OV2VisionConfig
    assert config.vision_config.use_head and config.vision_config.out_hidden_size == 64


# Inputs


def packed(pixel_values, merge_size=2):
    """Dense videos (batch, channels, frames, height, width) as rows in merge-block order, and the order itself."""
    batch_size, _, frames, height, width = pixel_values.shape
    rows, columns = height // 14, width // 14
    order = torch.arange(frames * rows * columns).view(
        frames, rows // merge_size, merge_size, columns // merge_size, merge_size
    )
    order = order.transpose(2, 3).flatten()
    patches = pixel_values.unfold(3, 14, 14).unfold(4, 14, 14).permute(0, 2, 3, 4, 1, 5, 6)
    patches = patches.reshape(batch_size, len(order), -1)[:, order]
    return patches.flatten(0, 1), torch.tensor([[frames, rows, columns]] * batch_size), order


@pytest.mark.parametrize("modality", ["image", "video"])
def test_packed_patches_give_the_same(encoder, checkpoint, modality):
    case = load_file(checkpoint / f"{modality}.safetensors")
    pixel_values = case["pixel_values"] if modality == "video" else case["pixel_values"].unsqueeze(2)
    rows, grid, order = packed(pixel_values)
    name = "pixel_values_videos" if modality == "video" else "pixel_values"
    with torch.no_grad():
        outputs = encoder(**{name: rows, f"{modality}_grid_thw": grid})
    expected = case["last_hidden_state"][:, order].flatten(0, 1)
    torch.testing.assert_close(outputs.last_hidden_state, expected, **TOLERANCE)
    torch.testing.assert_close(outputs.pooler_output, case["pooler_output"], **TOLERANCE)


def test_packed_samples_of_different_sizes_do_not_mix(encoder):
    samples = [torch.randn(1, 3, 1, 28, 56), torch.randn(1, 3, 5, 56, 28)]
    parts = [packed(sample) for sample in samples]
    with torch.no_grad():
        outputs = encoder(
            pixel_values_videos=torch.cat([rows for rows, _, _ in parts]),
            video_grid_thw=torch.cat([grid for _, grid, _ in parts]),
        )
        alone = [encoder(sample) for sample in samples]
    expected = torch.cat([output.last_hidden_state[0, order] for output, (_, _, order) in zip(alone, parts)])
    torch.testing.assert_close(outputs.last_hidden_state, expected, **TOLERANCE)
    torch.testing.assert_close(outputs.pooler_output, torch.cat([o.pooler_output for o in alone]), **TOLERANCE)


def test_visible_indices_keep_their_given_positions(encoder):
    pixel_values, positions = torch.randn(2, 3, 2, 28, 28), torch.randint(0, 500, (2, 8, 3))
    visible = torch.tensor([[0, 3, 6], [7, 1, 2]])
    with torch.no_grad():
        outputs = encoder(pixel_values, patch_positions=positions, visible_indices=visible)
        # A patch that is left out must not matter.
        pixel_values[0, :, 0, :14, 14:] = 5
        again = encoder(pixel_values, patch_positions=positions, visible_indices=visible)
        moved = encoder(pixel_values, patch_positions=positions + positions[:, :1], visible_indices=visible)
    assert outputs.last_hidden_state.shape == (2, 3, 64)
    assert torch.equal(outputs.last_hidden_state, again.last_hidden_state)
    assert (moved.last_hidden_state - outputs.last_hidden_state).abs().max() > 1e-3


def test_hidden_states_and_attentions_of_a_batch(checkpoint):
    model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
    outputs = model(torch.randn(2, 3, 3, 28, 28), output_hidden_states=True, output_attentions=True)
    assert [h.shape for h in outputs.hidden_states] == [(2, 12, 64)] * 4
    assert [a.shape for a in outputs.attentions] == [(2, 2, 12, 12)] * 3


def test_training_reaches_every_weight(checkpoint):
    model = AutoModel.from_pretrained(checkpoint).train()
    model.gradient_checkpointing_enable()
    model(torch.randn(2, 3, 28, 28)).pooler_output.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "either `pixel_values` or `pixel_values_videos`"),
        ({"pixel_values": torch.zeros(1, 3, 30, 28)}, "multiples of 14 pixels, got 30x28"),
        ({"pixel_values": torch.zeros(1, 28, 28, 3)}, "must be images"),
        ({"pixel_values": torch.zeros(3, 28, 28)}, "must be images"),
        ({"pixel_values": torch.zeros(16, 588)}, "need their grid"),
        ({"pixel_values": torch.zeros(16, 768), "image_grid_thw": torch.tensor([[1, 4, 4]])}, "3 x 14 x 14"),
        ({"pixel_values": torch.zeros(16, 588), "image_grid_thw": torch.tensor([[1, 4, 6]])}, "do not match"),
        (
            {"pixel_values": torch.zeros(1, 3, 28, 28), "patch_positions": torch.zeros(1, 2, 3)},
            r"\(1, 4, 3\).*\(1, 2, 3\)",
        ),
        (
            {"pixel_values": torch.zeros(2, 3, 28, 28), "visible_indices": torch.zeros(1, 2, dtype=torch.long)},
            "Visible indices",
        ),
        (
            {
                "pixel_values": torch.zeros(16, 588),
                "image_grid_thw": torch.tensor([[1, 4, 4]]),
                "visible_indices": torch.zeros(1, 2, dtype=torch.long),
            },
            "not from packed patches",
        ),
        (
            {
                "pixel_values_videos": torch.zeros(16, 588),
                "video_grid_thw": torch.tensor([[1, 4, 4]]),
                "patch_positions": torch.zeros(16, 3, dtype=torch.long),
            },
            "are `video_patch_positions`",
        ),
    ],
)
def test_inputs_that_do_not_fit(encoder, inputs, message):
    with pytest.raises(ValueError, match=message):
        encoder(**inputs)


# Processors and pipelines


def test_processors_of_the_repository(repository):
    assert type(AutoImageProcessor.from_pretrained(repository)) is CLIPImageProcessor
    video_processor = AutoVideoProcessor.from_pretrained(repository)
    assert type(video_processor) is OV2VideoProcessor
    # The image processor's crop is no size of video frames.
    assert (video_processor.size.shortest_edge, video_processor.size.longest_edge) == (3136, 150_000)


def test_one_call_for_images_and_codec_videos(repository, image, frames):
    model = AutoModel.from_pretrained(repository).eval()
    image_processor = AutoImageProcessor.from_pretrained(repository)
    native = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, temporal_patch_size=1)
    video_processor = AutoVideoProcessor.from_pretrained(repository)
    codec = video_processor([frames, frames[:, :28]], return_tensors="pt")
    whole = video_processor(frames, return_tensors="pt", video_backend="frames")
    with torch.no_grad():
        assert model(**image_processor([image] * 2, return_tensors="pt")).pooler_output.shape == (2, 64)
        assert model(**native(image, return_tensors="pt")).pooler_output.shape == (1, 64)
        assert model(**whole).pooler_output.shape == (1, 64)
        outputs = model(**codec)
        positions = codec["video_patch_positions"]
        moved = model(**{**codec, "video_patch_positions": positions + 40 * positions[:, :1]})
    assert outputs.pooler_output.shape == (2, 64)
    assert outputs.last_hidden_state.shape == (len(positions), 64)
    assert (moved.pooler_output - outputs.pooler_output).abs().max() > 1e-4


def test_feature_extraction_pipelines(repository, image, frames):
    extract = pipeline("image-feature-extraction", model=str(repository))
    assert extract(image, return_tensors=True).shape == (1, 36, 64)
    assert extract(image, pool=True, return_tensors=True).shape == (1, 64)
    assert len(extract([image] * 3, batch_size=2)) == 3
    # The general task calls a tokenizer; a processor in its place makes it extract features of videos.
    video_processor = AutoVideoProcessor.from_pretrained(repository)
    extract = pipeline("feature-extraction", model=str(repository), tokenizer=video_processor)
    features = extract(frames, return_tensors=True)
    assert features.shape == (len(video_processor(frames)["pixel_values_videos"]), 64)


def test_split_projections_load_from_shards(checkpoint, tmp_path):
    """The three projections of a layer may lie in different files."""
    weights = load_file(checkpoint / "model.safetensors")
    parts = ({}, {})
    for name, tensor in weights.items():
        parts["k_proj" in name][name] = tensor
    index = {}
    for number, part in enumerate(parts, start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(part, tmp_path / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    shutil.copy(checkpoint / "config.json", tmp_path)
    model, expected = AutoModel.from_pretrained(tmp_path), AutoModel.from_pretrained(checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters()))
