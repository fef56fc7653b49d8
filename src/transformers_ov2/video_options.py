# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Options of the video processor, and which of its two backends they belong to."""

from typing import Any

from transformers.processing_utils import VideosKwargs


VIDEO_BACKENDS = ("codec", "frames")
# Options that choose or make whole frames: whoever gives one asks for the frames backend.
FRAMES_OPTIONS = ("num_frames", "fps", "max_frames", "do_sample_frames", "frame_window_size", "do_resize", "resample")
# Those of either backend that images have not, so that whoever gives them means the videos.
VIDEO_ONLY_OPTIONS = ("num_frames", "fps", "max_frames", "do_sample_frames", "frame_window_size", "codec")
# Options of other processors that would have no effect here.
UNUSED_OPTIONS = ("crop_size", "data_format", "default_to_square", "do_center_crop", "do_pad")
# What this machine may do for a video: neither saved with a checkpoint nor taken from one.
READING_OPTIONS = ("allow_network", "allow_private_network", "download_seconds", "max_download_bytes", "isolate")


class OV2VideoProcessorKwargs(VideosKwargs, total=False):
    r"""
    patch_size (`int`, *optional*, defaults to 14):
        Side of a patch in pixels.
    temporal_patch_size (`int`, *optional*, defaults to 1):
        Frames per patch. The architecture knows only 1.
    merge_size (`int`, *optional*, defaults to 2):
        `merge_size`² patches become one token of the language model.
    min_pixels (`int`, *optional*, defaults to 3136):
        Frames (canvases) with fewer pixels are enlarged. Kept in `size["shortest_edge"]`.
    max_pixels (`int`, *optional*, defaults to 150000):
        Frames (canvases) with more pixels are reduced. Kept in `size["longest_edge"]`.
    max_frames (`int`, *optional*, defaults to 384):
        Most frames that `fps`, or the default choice by duration, may ask for (`video_backend="frames"`). Given in a
        call, it also limits `num_frames` and decoded frames.
    timestamp_decimals (`int`, *optional*, defaults to 1):
        Decimals of the seconds in the prompt. JumpScore uses 2.
    video_backend (`str`, *optional*, defaults to `"codec"`):
        `"codec"`: canvases of the codec-stream tokenizer. `"frames"`: whole frames, sampled over the video. A call, or
        `from_pretrained`, that names no backend gets the one that its options belong to: `num_frames`, `fps`,
        `max_frames`, `do_sample_frames`, `frame_window_size`, `do_resize=False` and `resample` to `"frames"`, `codec`
        to `"codec"`. Options that contradict each other or the named backend are an error. Options of the constructor
        and of a configuration file are defaults for the calls that they apply to.
    frame_window_size (`int`, *optional*, defaults to 1):
        Frames that attend to each other in the vision tower (`video_backend="frames"`). 1 isolates every frame, as
        the reference does at inference; its training used windows of 4. Windows of codec videos are their groups.
    max_tokens (`int`, *optional*):
        Most language model tokens that one video may take, timestamps included; it is never exceeded. Codec videos
        get fewer canvases. Frames get fewer: down to 8, or to `num_frames`, before they also get smaller.
    allow_network (`bool`, *optional*, defaults to `True`):
        Fetch http(s) URLs that were passed as a video or as its frames. Nothing else is ever fetched. Like the next
        four, an option of the machine: it is neither saved with a checkpoint nor taken from one.
    allow_private_network (`bool`, *optional*, defaults to `False`):
        Also from addresses that are not public (loopback, private, link-local, reserved), at once or by a redirect.
    download_seconds (`float`, *optional*, defaults to 600):
        Most seconds that a download may take in all.
    max_download_bytes (`int`, *optional*, defaults to 4 GiB):
        Most bytes of a download.
    isolate (`bool` or `dict`, *optional*, defaults to `False`):
        Read encoded videos in a child process with a limit on time and memory, so that a file that crashes, hangs or
        floods its decoder is a `VideoError` and nothing worse. The limits are those of
        [`~transformers_ov2.codec.Isolation`], a dict replaces them. Linux only.
    codec (`dict`, *optional*):
        Options of [`~transformers_ov2.codec.CodecStreamConfig`] (`video_backend="codec"`). Options given in a call
        are laid over those of the video processor. `num_threads=0` is no more than torch has: one in the workers of a
        data loader.
    """

    patch_size: int
    temporal_patch_size: int
    merge_size: int
    min_pixels: int | None
    max_pixels: int | None
    max_frames: int
    timestamp_decimals: int
    video_backend: str
    frame_window_size: int
    max_tokens: int | None
    allow_network: bool
    allow_private_network: bool
    download_seconds: float | int
    max_download_bytes: int
    isolate: bool | dict
    codec: dict | None


def choose_backend(given: dict[str, Any]) -> str | None:
    """
    The backend that options given together ask for; `None` when they fit both.

    Raises:
        ValueError: they contradict each other.
    """
    frames = [name for name in FRAMES_OPTIONS if given.get(name) is not None]
    if given.get("do_resize"):  # what both backends do
        frames.remove("do_resize")
    codec = ["codec"] if given.get("codec") is not None else []
    named = given.get("video_backend")
    if named == "codec" and frames:
        raise ValueError(
            f"`{frames[0]}` is for whole frames and has no effect with `video_backend='codec'`: leave one of them "
            "out. `codec={'target_canvas': N}` asks for N canvases."
        )
    if codec and (frames or named == "frames"):
        other = f"`{frames[0]}` is" if frames else "`video_backend='frames'` is"
        raise ValueError(f"{other} for whole frames, `codec` for the codec stream: leave one of them out.")
    return named or ("frames" if frames else "codec" if codec else None)
