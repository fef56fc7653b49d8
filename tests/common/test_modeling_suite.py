# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' `ModelTesterMixin` and `ConfigTester` on OV2. What does not apply is skipped here, with its reason."""

import copy
import unittest

import torch
from transformers.testing_utils import torch_device
from transformers_suite import suite_module

from transformers_ov2 import (
    OneVisionEncoderConfig,
    OneVisionEncoderModel,
    OV2Config,
    OV2ForConditionalGeneration,
    OV2Model,
    OV2VisionConfig,
    OV2VisionModel,
)
from transformers_ov2.modeling_ov2_vision import OV2VisionRotaryEmbedding


modeling_common = suite_module("test_modeling_common")
configuration_common = suite_module("test_configuration_common")
ids_tensor, floats_tensor = modeling_common.ids_tensor, modeling_common.floats_tensor


class OV2ModelTester:
    """
    One image of 4 x 4 patches and one video of 2 such frames, isolated from each other, in every sample, or only what
    `modalities` names. Without any, the placeholder ids are such that no input can contain them: for tests that make
    up their own `input_ids`, because OV2 refuses placeholders without pixels.
    """

    batch_size = 3
    is_training = True
    num_image_tokens, num_video_tokens, num_text_tokens = 4, 8, 7
    seq_length = num_image_tokens + num_video_tokens + num_text_tokens
    vocab_size = 99
    # Names the suites read from a tester.
    num_hidden_layers = 2
    num_attention_heads = 4
    hidden_size = 64

    text_options = {"model_type": "qwen3"}

    def __init__(self, parent, modalities=("image", "video")):
        self.parent = parent
        self.modalities = modalities
        first = 3 if modalities else self.vocab_size
        self.image_token_id, self.video_token_id, self.vision_start_token_id, self.vision_end_token_id = range(
            first, first + 4
        )

    def get_config(self) -> OV2Config:
        return OV2Config(
            text_config={
                **self.text_options,
                "vocab_size": self.vocab_size,
                "hidden_size": self.hidden_size,
                "intermediate_size": 37,
                "num_hidden_layers": self.num_hidden_layers,
                "num_attention_heads": self.num_attention_heads,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "max_position_embeddings": 512,
                "pad_token_id": 0,
            },
            vision_config={
                "hidden_size": 64,
                "intermediate_size": 37,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "patch_size": 4,
            },
            image_token_id=self.image_token_id,
            video_token_id=self.video_token_id,
            vision_start_token_id=self.vision_start_token_id,
            vision_end_token_id=self.vision_end_token_id,
        )

    def prepare_config_and_inputs_for_common(self):
        input_ids = ids_tensor([self.batch_size, self.seq_length], self.vocab_size - 7) + 7  # no special tokens
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if "image" in self.modalities:
            input_ids[:, 1 : 1 + self.num_image_tokens] = self.image_token_id
            inputs |= {
                "pixel_values": floats_tensor([self.batch_size * 16, 48]),
                "image_grid_thw": torch.tensor([[1, 4, 4]] * self.batch_size),
            }
        if "video" in self.modalities:
            video_start = 3 + self.num_image_tokens
            input_ids[:, video_start : video_start + self.num_video_tokens] = self.video_token_id
            inputs |= {
                "pixel_values_videos": floats_tensor([self.batch_size * 32, 48]),
                "video_grid_thw": torch.tensor([[2, 4, 4]] * self.batch_size),
                "video_window_sizes": torch.ones(self.batch_size, dtype=torch.long),
            }
        return self.get_config(), {name: value.to(torch_device) for name, value in inputs.items()}


class OV2ModelSuite(modeling_common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (OV2Model, OV2ForConditionalGeneration)
    model_tester_class = OV2ModelTester
    _is_composite = True

    def setUp(self):
        name = self._testMethodName
        modalities = ("image", "video")
        if name.startswith(("test_eager_matches_sdpa_inference", "test_model_rope_scaling_from_config")):
            modalities = ()  # these make up their own `input_ids`
        elif name.startswith("test_training_gradient_checkpointing"):
            modalities = ("image",)  # their mock remembers one forward per layer, two modalities make two
        self.model_tester = self.model_tester_class(self, modalities)
        self.config_tester = configuration_common.ConfigTester(
            self, config_class=OV2Config, has_text_modality=False, image_token_id=3, tie_word_embeddings=True
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_eager_matches_sdpa_with_pixels(self):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 5e-3), (torch.bfloat16, 1e-2)):
            with self.subTest(dtype):
                model = OV2ForConditionalGeneration(copy.deepcopy(config)).to(torch_device, dtype).eval()
                logits = {}
                for implementation in ("eager", "sdpa"):
                    model.set_attn_implementation(implementation)
                    with torch.no_grad():
                        logits[implementation] = model(**inputs).logits
                self.assertGreater(logits["eager"].std(), 0.01)
                torch.testing.assert_close(logits["sdpa"], logits["eager"], atol=tolerance, rtol=tolerance)

    @unittest.skip(
        "`GenerationTesterMixin` is not in the sdist of transformers. Its cases have tests of their own in "
        "tests/test_generation_ov2.py and tests/test_modeling_ov2.py."
    )
    def test_generation_tester_mixin_inheritance(self):
        pass

    @unittest.skip("Written for two axes of equal shares; the next test is the same for time, height and width.")
    def test_vision_axial_rope(self):
        pass

    def test_vision_axial_rope_three_axes(self):
        config = self.model_tester.get_config().vision_config
        config.validate_rope()
        rope = OV2VisionRotaryEmbedding(config).to(torch_device)
        inv_freq, attention_scaling = rope.compute_axial_rope_parameters(config)
        self.assertEqual(attention_scaling, 1.0)
        torch.testing.assert_close(rope.inv_freq.cpu(), inv_freq)
        cos, sin = rope(torch.zeros(10, 3, dtype=torch.long, device=torch_device))
        head_dim = config.hidden_size // config.num_attention_heads
        self.assertEqual(cos.shape, (10, head_dim))
        self.assertEqual(sin.shape, (10, head_dim))


class OV2MoeModelTester(OV2ModelTester):
    text_options = {
        "model_type": "qwen3_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    }


class OV2MoeModelSuite(OV2ModelSuite):
    model_tester_class = OV2MoeModelTester


class OneVisionEncoderTester:
    """Three images of 4 x 4 patches."""

    batch_size = 3
    is_training = True
    seq_length = 16
    num_hidden_layers = 2
    num_attention_heads = 2
    hidden_size = 64

    def __init__(self, parent):
        self.parent = parent

    def get_config(self) -> OneVisionEncoderConfig:
        return OneVisionEncoderConfig(
            hidden_size=self.hidden_size,
            intermediate_size=37,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            patch_size=4,
        )

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {"pixel_values": floats_tensor([self.batch_size, 3, 16, 16]).to(torch_device)}


class OneVisionEncoderSuite(modeling_common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (OneVisionEncoderModel,)
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = OneVisionEncoderTester(self)
        self.config_tester = configuration_common.ConfigTester(
            self, config_class=OneVisionEncoderConfig, has_text_modality=False, hidden_size=64, num_attention_heads=2
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip("Written for two axes of equal shares; `OV2ModelSuite` has the same for time, height and width.")
    def test_vision_axial_rope(self):
        pass

    def test_model_get_set_embeddings(self):
        model = OneVisionEncoderModel(self.model_tester.get_config())
        self.assertIsInstance(model.get_input_embeddings(), torch.nn.Conv2d)
        self.assertIsNone(model.get_output_embeddings())


class OV2VisionModelTester:
    """Three images of 4 x 4 patches. A batch of the vision model is the sequence of all their patches."""

    batch_size = 3
    is_training = True
    seq_length = 48
    num_hidden_layers = 2
    num_attention_heads = 2
    hidden_size = 64

    def __init__(self, parent):
        self.parent = parent

    def get_config(self) -> OV2VisionConfig:
        return OV2ModelTester(self.parent).get_config().vision_config

    def prepare_config_and_inputs_for_common(self):
        inputs = {
            "pixel_values": floats_tensor([self.batch_size * 16, 48]),
            "grid_thw": torch.tensor([[1, 4, 4]] * self.batch_size),
        }
        return self.get_config(), {name: value.to(torch_device) for name, value in inputs.items()}


class OV2VisionModelSuite(modeling_common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (OV2VisionModel,)
    test_resize_embeddings = False

    def setUp(self):
        name = self._testMethodName
        if name.startswith("test_eager_matches_sdpa_inference"):
            self.skipTest("cuts inputs to 7 rows, which no grid describes; see test_eager_matches_sdpa_with_pixels")
        self.model_tester = OV2VisionModelTester(self)
        if name == "test_attention_outputs":
            self.model_tester.encoder_seq_length = 16  # patches attend to those of their own image
        self.config_tester = configuration_common.ConfigTester(
            self, config_class=OV2VisionConfig, has_text_modality=False, hidden_size=64, num_attention_heads=2
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip("Written for two axes of equal shares; `OV2ModelSuite` has the same for time, height and width.")
    def test_vision_axial_rope(self):
        pass

    def test_model_get_set_embeddings(self):
        # The suite expects an embedding table; pixels are embedded by a convolution.
        model = OV2VisionModel(self.model_tester.get_config())
        self.assertIsInstance(model.get_input_embeddings(), torch.nn.Conv2d)
        self.assertIsNone(model.get_output_embeddings())
