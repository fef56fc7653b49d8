# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What counts as a video, how videos may be nested, and what is known of them."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import PIL.Image
import torch
from transformers.video_utils import VideoMetadata

from .codec import CodecStream


# Suffixes that tell a list of frame files from a list of videos.
FRAME_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass
class OV2VideoMetadata(VideoMetadata):
    """
    What the processor needs to write a video's timestamps into the prompt.

    Attributes:
        frames_indices (`list[int]`): source frame of each timestamp: one per frame, or one per run of codec tokens.
        seconds (`list[float]`): presentation time of each timestamp.
        run_lengths (`list[int]`): language model tokens behind each timestamp.
        signal_source (`dict[str, float]`, *optional*): evidence that chose the tokens of a codec video, with the share
            of the frames that each was known of.
    """

    seconds: list[float] | None = None
    run_lengths: list[int] | None = None
    signal_source: dict[str, float] | None = None

    @property
    def timestamps(self) -> list[float]:
        return self.seconds


def flatten_videos(videos) -> tuple[list, list[int] | None]:
    """
    Flatten any accepted nesting of videos.

    A video is a path or URL, a `pathlib.Path`, bytes, a binary file, a [`~transformers_ov2.codec.CodecStream`], a
    value of a `datasets` video column, a 4-D array of frames, a list of frames, or a list of frame files. Lists of
    strings are taken as transformers takes them (a list of videos, and a list of frame files when nested two levels
    deep), except that a list of image files is a list of frames at any level.

    Returns:
        `tuple`: the videos in order, and the number of videos per sample when they came as a list of samples.

    Raises:
        TypeError: something is no video.
    """
    if _is_video(videos):
        return [videos], None
    if isinstance(videos, (np.ndarray, torch.Tensor)) and videos.ndim == 5:
        return list(videos), None
    if not isinstance(videos, (list, tuple)):
        raise TypeError(
            f"A video of type {type(videos).__name__} is not supported. Pass a path, a URL, bytes, a binary file, a "
            "`CodecStream`, decoded frames [T, H, W, 3] or [T, 3, H, W], a list of images, or a list of these."
        )
    items = [item for item in videos if item is not None]
    if not any(isinstance(item, (list, tuple)) and not _is_video(item) for item in items):
        return [video for item in items for video in flatten_videos(item)[0]], None
    # Nested samples: a list of strings inside a sample is a list of frame files.
    samples = [[sample] if _is_video(sample) else [video for video in sample if video is not None] for sample in items]
    flat = [
        [v for video in sample for v in ([video] if is_path_list(video) else flatten_videos(video)[0])]
        for sample in samples
    ]
    return [video for sample in flat for video in sample], [len(sample) for sample in flat]


def is_path_list(video) -> bool:
    return isinstance(video, (list, tuple)) and len(video) > 0 and all(isinstance(item, (str, Path)) for item in video)


def is_picture(item) -> bool:
    """Whether `item`, taken for a video, would be one of a single frame: an image, or the file of one."""
    return _is_frame(item) or (isinstance(item, (str, Path)) and is_image_file(item))


def is_image_file(path: str | Path) -> bool:
    return urlparse(str(path)).path.lower().endswith(FRAME_SUFFIXES)


def _is_frame(item) -> bool:
    return isinstance(item, PIL.Image.Image) or (isinstance(item, (np.ndarray, torch.Tensor)) and item.ndim == 3)


def _is_video(item) -> bool:
    if isinstance(item, (str, Path, bytes, bytearray, memoryview, CodecStream)) or hasattr(item, "read"):
        return True
    # Values of video columns, frames of decord and torchcodec: see `video_sources`.
    if isinstance(item, dict):
        return bool({"path", "bytes"} & item.keys())
    if hasattr(item, "_hf_encoded") or hasattr(item, "asnumpy"):
        return True
    if type(item).__module__.startswith("torchcodec"):
        return True
    if isinstance(item, (np.ndarray, torch.Tensor)):
        return item.ndim in (3, 4)
    if isinstance(item, PIL.Image.Image):
        return True
    if not isinstance(item, (list, tuple)) or len(item) == 0:
        return False
    if all(_is_frame(frame) for frame in item):
        return True
    return is_path_list(item) and all(map(is_image_file, item))


def local_path(item) -> Path | None:
    """The path behind a `pathlib.Path` or a `file://` URL; `None` for everything else, plain strings included."""
    if isinstance(item, Path):
        return item
    if isinstance(item, str) and (url := urlparse(item)).scheme == "file":
        return Path(url2pathname(url.path))
    return None


def flatten_metadata(metadata, num_videos: int) -> list[VideoMetadata | None]:
    """One entry per video from metadata in any nesting; `None` where nothing is known of a video."""
    if metadata is None:
        return [None] * num_videos
    if isinstance(metadata, (VideoMetadata, dict)):
        metadata = [metadata]
    flat = [entry for item in metadata for entry in (item if isinstance(item, (list, tuple)) else [item])]
    if len(flat) != num_videos:
        raise ValueError(f"Received {num_videos} videos but {len(flat)} `video_metadata` entries; pass one per video.")
    return [entry if isinstance(entry, VideoMetadata) or entry is None else VideoMetadata(**entry) for entry in flat]
