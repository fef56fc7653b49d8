# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' `VideoProcessingTestMixin` on `OV2VideoProcessor`. What differs is overridden, with its reason."""

import unittest

from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.video_utils import VideoMetadata
from transformers_suite import suite_module

from transformers_ov2 import OV2VideoProcessor


video_processing_common = suite_module("test_video_processing_common")


class OV2VideoProcessorTester:
    batch_size = 3
    num_frames = 4
    num_channels = 3
    min_resolution, max_resolution = 30, 80

    def __init__(self, parent):
        self.parent = parent

    def prepare_video_processor_dict(self):
        return {
            "video_backend": "frames",
            "do_sample_frames": False,
            "size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56},
        }

    def expected_output_video_shape(self, videos):
        """Rows and columns of `pixel_values_videos`: one row per patch of every frame of all videos."""
        patches = 0
        for video in videos:
            frame = video[0]
            if hasattr(frame, "size") and isinstance(frame.size, tuple):
                width, height = frame.size
            elif frame.shape[0] == self.num_channels:
                height, width = frame.shape[1:]
            else:
                height, width = frame.shape[:2]
            height, width = smart_resize(height, width, 28, 28 * 28, 56 * 56)
            patches += len(video) * (height // 14) * (width // 14)
        return (patches, 3 * 14 * 14)

    def prepare_video_inputs(self, equal_resolution=False, return_tensors="pil"):
        return video_processing_common.prepare_video_inputs(
            batch_size=self.batch_size,
            num_frames=self.num_frames,
            num_channels=self.num_channels,
            min_resolution=self.min_resolution,
            max_resolution=self.max_resolution,
            equal_resolution=equal_resolution,
            return_tensors=return_tensors,
        )


class OV2VideoProcessorSuite(video_processing_common.VideoProcessingTestMixin, unittest.TestCase):
    fast_video_processing_class = OV2VideoProcessor
    test_cast_dtype = True

    def setUp(self):
        super().setUp()
        self.video_processor_tester = OV2VideoProcessorTester(self)

    @property
    def video_processor_dict(self):
        return self.video_processor_tester.prepare_video_processor_dict()

    def assert_expected_videos_shape(self, encoded_videos, expected_output_video_shape, num_videos):
        self.assertEqual(tuple(encoded_videos.shape), expected_output_video_shape)

    def test_video_processor_from_dict_with_kwargs(self):
        # Upstream's sizes are those of a resize by the shorter side with a centre crop, which OV2 does not have.
        processor = OV2VideoProcessor.from_dict(self.video_processor_dict)
        self.assertEqual(dict(processor.size), self.video_processor_dict["size"])
        size = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
        processor = OV2VideoProcessor.from_dict(self.video_processor_dict, size=size, max_frames=7)
        self.assertEqual(dict(processor.size), size)
        self.assertEqual(processor.max_frames, 7)

    def test_call_sample_frames(self):
        # As upstream's, counting frames in the grid: rows of patches say nothing about frames.
        processor = OV2VideoProcessor(**self.video_processor_dict)
        tester = self.video_processor_tester
        tester.num_frames = 8
        videos = tester.prepare_video_inputs(return_tensors="torch")

        def num_frames(inputs, **kwargs):
            return processor(inputs, return_tensors="pt", **kwargs)["video_grid_thw"][:, 0].tolist()

        processor.do_sample_frames = False
        self.assertEqual(num_frames(videos[0]), [8])
        # Upstream ignores the option of the call; OV2 ignores none.
        self.assertEqual(num_frames(videos, num_frames=3), [3] * 3)

        processor.do_sample_frames = True
        self.assertEqual(num_frames(videos[0], num_frames=3), [3])
        self.assertEqual(num_frames(videos, num_frames=3), [3] * 3)
        with self.assertRaises(ValueError):  # sampling by time needs the frame rate
            processor.sample_frames(metadata=VideoMetadata(total_num_frames=8), fps=3)
        for metadata in ({"duration": 2.0, "total_num_frames": 8, "fps": 4}, VideoMetadata(8, duration=2.0, fps=4)):
            self.assertEqual(num_frames(videos[0], fps=3, video_metadata=[[metadata]]), [6])
            self.assertEqual(num_frames(videos, fps=3, video_metadata=[[metadata]] * 3), [6] * 3)
        # Upstream refuses to sample more frames than there are; OV2 takes all of them, as the reference does.
        self.assertEqual(num_frames(videos[0], num_frames=10), [8])

    def test_call_numpy_4_channels(self):
        # As upstream's without the leading axis: a fourth channel is removed, so rows are those of three channels.
        processor = OV2VideoProcessor(**self.video_processor_dict)
        tester = self.video_processor_tester
        tester.num_channels = 4
        videos = tester.prepare_video_inputs(return_tensors="pil")
        self.assertEqual({frame.mode for video in videos for frame in video}, {"RGBA"})
        for inputs, expected in ((videos[0], [videos[0]]), (videos, videos)):
            pixels = processor(inputs, return_tensors="pt", input_data_format="channels_last")[self.input_name]
            self.assertEqual(tuple(pixels.shape), tester.expected_output_video_shape(expected))
