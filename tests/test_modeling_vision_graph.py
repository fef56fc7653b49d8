# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The vision tower as one graph: precomputed inputs, `torch.compile(fullgraph=True)` and `torch.export`."""

import pytest
import torch

from transformers_ov2 import OV2ForConditionalGeneration, OV2VisionConfig, OV2VisionModel
from transformers_ov2.modeling_ov2_vision import OV2VisionWindows


GRIDS = {"equal windows": [[8, 4, 4]], "different windows": [[6, 4, 4], [1, 2, 6]]}
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=["eager", "sdpa"])
def model(request):
    config = OV2VisionConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2)
    return OV2VisionModel._from_config(config, attn_implementation=request.param).eval()


@pytest.fixture(params=GRIDS.values(), ids=GRIDS)
def grid(request):
    return torch.tensor(request.param)


@pytest.fixture
def pixel_values(grid):
    return torch.randn(int(grid.prod(-1).sum()), 588)


def assert_same(outputs, expected):
    torch.testing.assert_close(outputs.last_hidden_state, expected.last_hidden_state, **TOLERANCE)
    torch.testing.assert_close(outputs.pooler_output, expected.pooler_output, **TOLERANCE)


@torch.no_grad()
def test_precomputed_inputs_say_the_same(model, grid, pixel_values):
    window_sizes = torch.full((len(grid),), 2)
    for windows in (None, window_sizes):
        precomputed = model.precompute_inputs(grid, windows)
        expected = model(pixel_values, grid, window_sizes=windows)
        assert_same(model(pixel_values, **precomputed), expected)
        del precomputed["max_seqlen"]
        assert_same(model(pixel_values, **precomputed), expected)
        del precomputed["position_ids"]
        assert_same(model(pixel_values, grid, **precomputed), expected)
    # They are obeyed: one window over everything is something else.
    joined = model(pixel_values, grid, cu_seqlens=torch.tensor([0, len(pixel_values)], dtype=torch.int32))
    assert (joined.pooler_output - expected.pooler_output).abs().max() > 1e-4


def test_padded_windows_come_back_in_order():
    windows = OV2VisionWindows.from_cu_seqlens(torch.tensor([0, 3, 4, 9], dtype=torch.int32), 5, 9)
    assert windows.mask.sum(-1).tolist() == [3, 1, 5]
    assert windows.order[windows.inverse].tolist() == list(range(9))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sdpa"], indirect=True)
@torch.no_grad()
def test_compiled_as_one_graph(model, grid, pixel_values):
    precomputed = model.precompute_inputs(grid)
    expected = model(pixel_values, grid)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_same(compiled(pixel_values, **precomputed), expected)
    # The first window grows beyond `max_seqlen`.
    precomputed["cu_seqlens"][1] += 4
    with pytest.raises(RuntimeError, match="assert"):
        compiled(pixel_values, **precomputed)


@pytest.mark.slow
@torch.no_grad()
def test_exported(model, grid, pixel_values):
    precomputed = model.precompute_inputs(grid)
    program = torch.export.export(model, (pixel_values,), precomputed)
    other = torch.randn_like(pixel_values)
    assert_same(program.module()(other, **precomputed), model(other, grid))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sdpa"], indirect=True)
@torch.no_grad()
def test_exporter_of_transformers(model, grid, pixel_values):
    """Its own derivation from the grid knows no windows of four frames, so it is given what is precomputed here."""
    exporters = pytest.importorskip("transformers.exporters.exporter_dynamo", reason="needs transformers' exporters")
    configs = pytest.importorskip("transformers.exporters.configs")
    precomputed = model.precompute_inputs(grid)
    inputs = {"pixel_values": pixel_values, **precomputed}
    exported = exporters.DynamoExporter().export(model, inputs, configs.DynamoConfig())
    program = getattr(exported, "program", exported)  # transformers 5.22 gives the program itself
    other = torch.randn_like(pixel_values)
    assert_same(program.module()(pixel_values=other, **precomputed), model(other, grid))


@torch.no_grad()
def test_full_model_takes_them_by_modality(tiny_config):
    model = OV2ForConditionalGeneration(tiny_config()).eval()
    inputs = {
        "input_ids": torch.tensor([[11, *[990] * 4, 12, *[991] * 8, 13]]),
        "pixel_values": torch.randn(16, 588),
        "image_grid_thw": torch.tensor([[1, 4, 4]]),
        "pixel_values_videos": torch.randn(32, 588),
        "video_grid_thw": torch.tensor([[2, 4, 4]]),
    }
    isolated = torch.tensor([1])
    expected = model(**inputs, video_window_sizes=isolated).logits
    image = model.model.visual.precompute_inputs(inputs["image_grid_thw"])
    video = model.model.visual.precompute_inputs(inputs["video_grid_thw"], isolated)
    precomputed = {f"image_{name}": value for name, value in image.items()}
    precomputed |= {f"video_{name}": value for name, value in video.items()}
    torch.testing.assert_close(model(**inputs, **precomputed).logits, expected, **TOLERANCE)
    precomputed["image_position_ids"] = image["position_ids"] + 7 * image["position_ids"]
    assert (model(**inputs, **precomputed).logits - expected).abs().max() > 1e-4
    with pytest.raises(ValueError, match="either `window_sizes` or `cu_seqlens`"):
        model(**inputs, **precomputed, video_window_sizes=isolated)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Pass `grid_thw`, or `cu_seqlens`"),
        ({"cu_seqlens": torch.tensor([0, 16], dtype=torch.int32)}, "need `position_ids`"),
        (
            {"cu_seqlens": torch.tensor([0, 12], dtype=torch.int32), "grid_thw": torch.tensor([[1, 4, 4]])},
            "ends at 12, there are 16 patches",
        ),
        (
            # As many patches as two windows of 8 would have.
            {
                "cu_seqlens": torch.tensor([0, 4, 16], dtype=torch.int32),
                "grid_thw": torch.tensor([[1, 4, 4]]),
                "max_seqlen": 8,
            },
            "`max_seqlen` is 8, but a window of `cu_seqlens` has 12 patches",
        ),
    ],
)
def test_incomplete_precomputed_inputs(model, inputs, message):
    with pytest.raises(ValueError, match=message):
        model(torch.randn(16, 588), **inputs)
