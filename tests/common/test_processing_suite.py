# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' `ProcessorTesterMixin` on `OV2Processor`. What does not apply is skipped here, with its reason."""

import tempfile
import unittest
from pathlib import Path

from transformers import AutoImageProcessor, AutoTokenizer, AutoVideoProcessor, Qwen2VLImageProcessorPil
from transformers_suite import suite_module

from transformers_ov2 import OV2Processor, OV2VideoProcessor


processing_common = suite_module("test_processing_common")

TOKENIZER = Path(__file__).parents[1] / "fixtures" / "hub_layout"
SIZE = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}


class OV2ProcessorSuite(processing_common.ProcessorTesterMixin, unittest.TestCase):
    processor_class = OV2Processor

    @classmethod
    def _setup_tokenizer(cls):
        return AutoTokenizer.from_pretrained(TOKENIZER)

    @classmethod
    def _setup_image_processor(cls):
        return Qwen2VLImageProcessorPil(patch_size=14, temporal_patch_size=1, merge_size=2, size=SIZE)

    @classmethod
    def _setup_video_processor(cls):
        return OV2VideoProcessor(video_backend="frames", size=SIZE)

    def prepare_audio_inputs(self, batch_size=None):
        return None  # OV2 refuses audio, which the suite passes to every processor

    def get_component(self, attribute, **kwargs):
        if attribute == "image_processor":
            kwargs["backend"] = (
                "pil"  # that of `OV2Processor`, for the reference's pixels; transformers' is torchvision
            )
        return super().get_component(attribute, **kwargs)

    @property
    def video_sampling_expectations(self):
        # 11 frames at 30 frames per second; a frame is resized to 2 x 4 patches, each of them one row. Upstream also
        # passes `fps` with `do_sample_frames=False`, which OV2 refuses.
        return [
            {"num_frames": 3, "fps": None, "expected_dim": 0, "output_length": 3 * 8},
            {"num_frames": None, "fps": 10, "expected_dim": 0, "output_length": 3 * 8},
            {"do_sample_frames": False, "expected_dim": 0, "output_length": 11 * 8},
            {"expected_dim": 0, "output_length": 8 * 8},
        ]

    def test_processor_from_and_save_pretrained_as_nested_dict(self):
        # As upstream's, but `AutoImageProcessor`, which knows nothing of the saved backend, has to be asked for PIL.
        processor = self.get_processor()
        with tempfile.TemporaryDirectory() as folder:
            processor.save_pretrained(folder)
            reloaded = OV2Processor.from_pretrained(folder)
            image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
            video_processor = AutoVideoProcessor.from_pretrained(folder)
        self.assertEqual(reloaded.to_dict(), processor.to_dict())
        self.assertEqual(repr(image_processor), repr(processor.image_processor))
        self.assertEqual(repr(video_processor), repr(processor.video_processor))

    # Upstream's two tests of chat templates with videos want torchcodec. OV2 decodes with PyAV, so they run here.
    def test_apply_chat_template_decoded_video_pyav(self):
        self._test_apply_chat_template(
            "video", 1, "pt", "videos_input_name", "video_processor", [self.prepare_videos_inputs()]
        )

    def test_apply_chat_template_video_pyav(self):
        videos = processing_common.MODALITY_INPUT_DATA["videos"]
        for batch_size in (1, 2):
            with self.subTest(batch_size=batch_size):
                self._test_apply_chat_template(
                    "video", batch_size, "pt", "videos_input_name", "video_processor", videos
                )
