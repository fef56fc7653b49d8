# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Video processor of LLaVA-OneVision-2: videos in, patch rows with their grid and positions out."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from huggingface_hub.dataclasses import validate_typed_dict
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelDimension,
    PILImageResampling,
    SizeDict,
    infer_channel_dimension_format,
    validate_kwargs,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.processing_utils import Unpack
from transformers.utils import IMAGE_PROCESSOR_NAME, auto_docstring, cached_file, logging, safe_load_json_file
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from .codec import CodecStream, CodecStreamConfig
from .codec.deciding.budget import timestamp_text_tokens
from .codec.isolation import FrameReader, open_frames
from .codec.packing.assets import read_assets
from .codec.packing.canvas import canvas_size
from .codec.reading.network import NetworkLimits
from .codec.reading.packets import PacketTable
from .codec.reading.source import Isolation, VideoError, VideoSource, open_source
from .codec.tokenizer import tokenize_video
from .codec.workers import default_threads
from .image_inputs import load_image, to_8_bits, to_opaque, to_rgb
from .video_inputs import OV2VideoMetadata, flatten_metadata, flatten_videos, is_path_list, local_path
from .video_options import (
    READING_OPTIONS,
    UNUSED_OPTIONS,
    VIDEO_BACKENDS,
    VIDEO_ONLY_OPTIONS,
    OV2VideoProcessorKwargs,
    choose_backend,
)
from .video_sources import is_archive, resolve_source


logger = logging.get_logger(__name__)

# What a video processor may take from an image processor's file when the repository has no file of its own.
SHARED_IMAGE_OPTIONS = (
    "codec",
    "do_convert_rgb",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "merge_size",
    "patch_size",
    "resample",
    "rescale_factor",
    "temporal_patch_size",
)


@dataclass
class _Clip:
    """A processed video: uint8 or float `rows` [patches, 3, patch, patch], int64 `positions` [patches, 3]."""

    rows: torch.Tensor
    positions: torch.Tensor
    grid_thw: tuple[int, int, int]
    window_size: int
    metadata: OV2VideoMetadata


@auto_docstring(
    custom_intro="""
    Video processor of LLaVA-OneVision-2. Every video becomes one row of `video_grid_thw`, patch rows in merge-block
    order and the source (frame, row, column) of every patch.
    """
)
# trf-ignore: TRF016 (the `do_*` flags reach the methods that apply them inside `options`)
class OV2VideoProcessor(BaseVideoProcessor):
    resample = PILImageResampling.BICUBIC
    # 150000 is the reference's size of a canvas (392² when square), so that a frame and a canvas cost the same.
    size = {"shortest_edge": 56 * 56, "longest_edge": 150_000}
    default_to_square = False
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    patch_size = 14
    temporal_patch_size = 1
    merge_size = 2
    num_frames = None
    fps = None
    max_frames = 384
    timestamp_decimals = 1
    video_backend = "codec"
    frame_window_size = 1
    max_tokens = None
    allow_network = True
    allow_private_network = False
    download_seconds = NetworkLimits.download_seconds
    max_download_bytes = NetworkLimits.max_download_bytes
    isolate = False
    codec = None
    valid_kwargs = OV2VideoProcessorKwargs
    model_input_names = ["pixel_values_videos", "video_grid_thw", "video_patch_positions", "video_window_sizes"]

    def __init__(self, **kwargs: Unpack[OV2VideoProcessorKwargs]):
        kwargs.pop("auto_map", None)
        if kwargs.get("video_backend") is None:
            kwargs["video_backend"] = choose_backend(kwargs) or self.video_backend
        kwargs["size"] = {**self.size, **(kwargs.get("size") or {})}
        super().__init__(**kwargs)
        if self.temporal_patch_size != 1:
            raise ValueError(
                f"`temporal_patch_size` must be 1, got {self.temporal_patch_size}: the encoder embeds single frames."
            )
        options = {name: getattr(self, name, None) for name in self.valid_kwargs.__annotations__}
        self._check_options(options)
        self._codec_config(options)

    def _standardize_kwargs(
        self,
        size: dict[str, int] | SizeDict | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        **kwargs,
    ) -> dict:
        # `size` is the one place where the pixel limits are kept and saved.
        size = {} if size is None else {key: value for key, value in dict(size).items() if value is not None}
        if min_pixels is not None:
            size["shortest_edge"] = min_pixels
        if max_pixels is not None:
            size["longest_edge"] = max_pixels
        if sorted(size) != ["longest_edge", "shortest_edge"]:
            raise ValueError(f"`size` must hold `shortest_edge` and `longest_edge` (pixels), got {size}.")
        if size["shortest_edge"] > size["longest_edge"]:
            raise ValueError(
                f"`min_pixels` ({size['shortest_edge']}) must not exceed `max_pixels` ({size['longest_edge']})."
            )
        return super()._standardize_kwargs(size=SizeDict(**size), **kwargs)

    @classmethod
    def from_dict(cls, video_processor_dict: dict[str, Any], **kwargs):
        # What the caller gives decides; what the file holds are defaults of either backend.
        given = {name: value for name, value in kwargs.items() if name in cls.valid_kwargs.__annotations__}
        backend = choose_backend(given) or video_processor_dict.get("video_backend") or cls.video_backend
        return super().from_dict(video_processor_dict, **{**kwargs, "video_backend": backend})

    @staticmethod
    def _check_options(options: dict[str, Any]):
        if options["video_backend"] not in VIDEO_BACKENDS:
            raise ValueError(f"`video_backend` must be one of {VIDEO_BACKENDS}, got {options['video_backend']!r}.")
        limits = {"frame_window_size": 1, "timestamp_decimals": 0, "max_frames": 1, "max_tokens": 1}
        for name, least in limits.items():
            if options[name] is not None and options[name] < least:
                raise ValueError(f"`{name}` must be at least {least}, got {options[name]}.")

    @staticmethod
    def _codec_config(options: dict[str, Any]) -> CodecStreamConfig:
        """The codec options laid over what the video processor shares with them."""
        shared = {
            "patch": options["patch_size"],
            "merge": options["merge_size"],
            "min_pixels": options["size"].shortest_edge,
            "max_pixels": options["size"].longest_edge,
            "max_tokens": options["max_tokens"],
        }
        config = CodecStreamConfig.from_dict({**shared, **(options["codec"] or {})})
        if (config.patch, config.merge) != (shared["patch"], shared["merge"]):
            raise ValueError(
                f"`codec` asks for patches of {config.patch} merged by {config.merge}, the video processor for "
                f"{shared['patch']} merged by {shared['merge']}. Leave `patch` and `merge` out of `codec`."
            )
        return config

    @classmethod
    def get_video_processor_dict(
        cls, pretrained_model_name_or_path, **kwargs
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        The options in a repository: those of its video processor file, or what its image processor file shares when
        it has none; in both cases the `codec` block that the released checkpoint keeps in `preprocessor_config.json`.
        """
        where = {
            name: kwargs[name]
            for name in ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
            if kwargs.get(name) is not None
        }
        options, unused_kwargs = super().get_video_processor_dict(pretrained_model_name_or_path, **kwargs)
        if "video_processor_type" not in options:
            options = {name: options[name] for name in SHARED_IMAGE_OPTIONS if name in options}
        if "codec" not in options and not Path(pretrained_model_name_or_path).is_file():
            image_file = cached_file(
                pretrained_model_name_or_path,
                filename=IMAGE_PROCESSOR_NAME,
                _raise_exceptions_for_missing_entries=False,
                **where,
            )
            if image_file is not None and (codec := safe_load_json_file(image_file).get("codec")) is not None:
                options["codec"] = codec
        return {n: value for n, value in options.items() if n not in ("auto_map", *READING_OPTIONS)}, unused_kwargs

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().to_dict().items() if name not in READING_OPTIONS}

    def open_video(self, video, **options) -> VideoSource | CodecStream:
        """
        [`~transformers_ov2.codec.reading.source.open_source`] within what this video processor allows.

        Args:
            video: an encoded video, or decoded frames, or what [`~transformers_ov2.video_sources.resolve_source`]
                makes one of, a codec stream included.
            options: any of `READING_OPTIONS` that differ.
        """
        allowed = {name: options.get(name, getattr(self, name)) for name in READING_OPTIONS}
        video = resolve_source(video, self.network_limits(**allowed))
        if isinstance(allowed["isolate"], dict):
            allowed["isolate"] = Isolation(**allowed["isolate"])
        return video if isinstance(video, CodecStream) else open_source(video, **allowed)

    def network_limits(self, **options) -> NetworkLimits:
        """What may be fetched, where `options` replace those of this video processor."""
        names = [field.name for field in fields(NetworkLimits)]
        return NetworkLimits(**{name: options.get(name, getattr(self, name)) for name in names})

    @auto_docstring
    def preprocess(
        self,
        videos,
        timestamp_tokens: Callable[[float], int] | None = None,
        **kwargs: Unpack[OV2VideoProcessorKwargs],
    ) -> BatchFeature:
        r"""
        videos:
            One video or any nesting of videos, see [`~video_inputs.flatten_videos`]. Encoded videos are opened and
            decoded with PyAV; directories written by the reference codec tool and
            [`~transformers_ov2.codec.CodecStream`] objects are taken as they are.
        timestamp_tokens (`Callable[[float], int]`, *optional*):
            Language model tokens of the timestamp for a time in seconds, everything around its placeholders included,
            for `max_tokens`. An upper bound for Qwen's tokenizers by default; [`OV2Processor`] counts.

        Returns:
            `BatchFeature`: tensors of all videos one after the other

            - `pixel_values_videos`, float32 `(num_patches, 3 * patch_size**2)`: patches in merge-block order
            - `video_grid_thw`, int64 `(num_videos, 3)`: (frames or canvases, patch rows, patch columns)
            - `video_patch_positions`, int64 `(num_patches, 3)`: source (frame, row, column) of every patch
            - `video_window_sizes`, int64 `(num_videos,)`: rows of the grid that attend to each other

            and, with `return_metadata=True`, `video_metadata`: a list of [`OV2VideoMetadata`].

        Raises:
            ValueError: an option is out of range or does not belong to the backend, or a video cannot be read.
            TypeError: something is no video.
        """
        validate_kwargs(captured_kwargs=list(kwargs), valid_processor_keys=list(self.valid_kwargs.__annotations__))
        validate_typed_dict(self.valid_kwargs, kwargs)
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        options = self._resolve_options(kwargs)
        options["timestamp_tokens"] = timestamp_tokens or timestamp_text_tokens

        videos, _ = flatten_videos(videos)
        if not videos:
            raise ValueError("There is no video to process.")
        if all(map(_is_codec_stream, videos)) and (unused := [n for n in VIDEO_ONLY_OPTIONS if n in kwargs]):
            # No error: one set of options may go to many samples, of which some are streams.
            logger.warning_once(f"`{unused[0]}` has no effect on videos that are codec streams already.")
        metadata = flatten_metadata(options["video_metadata"], len(videos))
        clips = [self._process_video(video, meta, options) for video, meta in zip(videos, metadata)]

        rows = [self._normalize_rows(clip.rows, options) for clip in clips]
        data = {
            "pixel_values_videos": torch.cat(rows) if len(rows) > 1 else rows[0],
            "video_grid_thw": torch.tensor([clip.grid_thw for clip in clips], dtype=torch.int64),
            "video_patch_positions": torch.cat([clip.positions for clip in clips]),
            "video_window_sizes": torch.tensor([clip.window_size for clip in clips], dtype=torch.int64),
        }
        features = BatchFeature(data=data, tensor_type=options["return_tensors"])
        if options["return_metadata"]:
            features["video_metadata"] = [clip.metadata for clip in clips]
        return features

    def _resolve_options(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Lay the options of a call over those of the instance and refuse those that would have no effect."""
        options = {name: kwargs.get(name, getattr(self, name, None)) for name in self.valid_kwargs.__annotations__}
        if unused := [name for name in UNUSED_OPTIONS if kwargs.get(name)]:
            raise ValueError(f"`{unused[0]}` has no effect on videos of this model: leave it out.")
        options["video_backend"] = backend = choose_backend(kwargs) or self.video_backend
        self._check_options(options)
        count = [name for name in ("num_frames", "fps") if name in kwargs]
        if len(count) == 2:
            raise ValueError("`num_frames` and `fps` are mutually exclusive, pass only one of them.")
        if kwargs.get("do_sample_frames") is False and (count or "max_frames" in kwargs):
            raise ValueError(
                f"`do_sample_frames=False` keeps every frame, `{[*count, 'max_frames'][0]}` limits them: leave one of "
                "them out."
            )
        # What the call asks for replaces either default.
        if count:
            options["num_frames"], options["fps"] = kwargs.get("num_frames"), kwargs.get("fps")
            options["do_sample_frames"] = True
        options["frame_limit"] = kwargs.get("max_frames")
        if options["frame_limit"] is not None and options["num_frames"] is not None:
            options["num_frames"] = min(options["num_frames"], options["frame_limit"])

        # Pixel limits of a call go before the instance's codec block, the call's own codec block before both.
        limits = {"min_pixels", "max_pixels", "size"} & kwargs.keys()
        codec = {k: v for k, v in (self.codec or {}).items() if not (limits and k in ("min_pixels", "max_pixels"))}
        options["codec"] = {**codec, **kwargs.get("codec", {})}

        options = self._standardize_kwargs(**options)
        if backend == "codec":
            config = self._codec_config(options)
            # As for sampled frames: the workers of a data loader have one thread each.
            num_threads = config.num_threads or min(default_threads(), torch.get_num_threads())
            options["codec"] = config.replace(num_threads=num_threads)
        return options

    def _process_video(self, video, metadata: VideoMetadata | None, options: dict[str, Any]) -> _Clip:
        limits = self.network_limits(**options)
        video = resolve_source(video, limits)
        if isinstance(video, CodecStream):
            return self._codec_clip(video, options)
        if _is_codec_stream(video):
            return self._codec_clip(read_assets(local_path(video) or video), options)

        if is_path_list(video):
            if options["do_sample_frames"] and len(video) > 1:
                raise ValueError(
                    "Sampling frames from a list of images is not supported! Set `do_sample_frames=False`."
                )
            video = [load_image(image, limits, still=True) for image in video]
        if isinstance(video, (list, tuple, np.ndarray, torch.Tensor, PIL.Image.Image)):
            frames = self._frames_tensor(video, options)
            metadata = self._frames_metadata(frames, metadata, options)
            if options["video_backend"] == "codec":
                return self._codec_clip(self._tokenize_frames(frames, metadata, options), options)
            return self._decoded_clip(frames, metadata, options)

        source = self.open_video(video, **{name: options[name] for name in READING_OPTIONS})
        if options["video_backend"] == "codec":
            stream = tokenize_video(source, options["codec"], timestamp_tokens=options["timestamp_tokens"])
            return self._codec_clip(stream, options)
        with open_frames(source) as reader:
            return self._encoded_clip(reader, options)

    # Frames backend

    def _encoded_clip(self, reader: FrameReader, options: dict[str, Any]) -> _Clip:
        """Choose frames of an encoded video by its packets, then decode only those."""
        source, table = reader.source, reader.table
        metadata = VideoMetadata(
            total_num_frames=table.num_frames,
            fps=table.fps,
            width=source.width,
            height=source.height,
            duration=table.num_frames / table.fps,
        )
        seconds = presentation_seconds(table, source.time_base)
        indices = np.arange(table.num_frames)
        if options["do_sample_frames"] is not False:
            indices = self.sample_frames(metadata, options["num_frames"], options["fps"], options["max_frames"])
        count, size = self._fit_tokens(seconds[indices], source.height, source.width, options)
        if count < len(indices):
            indices = self.sample_frames(metadata, num_frames=count)

        frames, decoded = [], []
        for index, image in reader.images(indices, torch.get_num_threads()):
            frames.append(self._resize(torch.from_numpy(image).permute(2, 0, 1), size, options))
            decoded.append(index)
        if not decoded:
            raise VideoError(f"{source.name}: none of the {len(indices)} frames asked for could be decoded.")
        metadata.frames_indices = decoded
        return self._frames_clip(frames, seconds[decoded].tolist(), metadata, options)

    def _decoded_clip(self, frames: torch.Tensor, metadata: VideoMetadata, options: dict[str, Any]) -> _Clip:
        chosen = np.arange(len(frames))
        if options["do_sample_frames"]:
            chosen = self.sample_frames(metadata, options["num_frames"], options["fps"], options["max_frames"])
        elif options["frame_limit"] is not None:
            chosen = self.sample_frames(VideoMetadata(total_num_frames=len(frames)), options["frame_limit"])
        indices = np.asarray(metadata.frames_indices)
        count, size = self._fit_tokens(indices[chosen] / metadata.fps, *frames.shape[-2:], options)
        if count < len(chosen):
            chosen = np.linspace(0, len(frames) - 1, count).round().astype(np.int64)
        frames = [self._resize(frames[index], size, options) for index in chosen]
        metadata.frames_indices = indices[chosen].tolist()
        return self._frames_clip(frames, (indices[chosen] / metadata.fps).tolist(), metadata, options)

    def _fit_tokens(
        self, seconds: np.ndarray, height: int, width: int, options: dict[str, Any]
    ) -> tuple[int, tuple[int, int]]:
        """
        Number and size of the frames that `max_tokens` allows, where the frames at `seconds` of `height` x `width`
        pixels are wanted.
        """
        limit, factor, edges = options["max_tokens"], options["patch_size"] * options["merge_size"], options["size"]
        count, size = len(seconds), (height, width)
        if options["do_resize"]:
            size = smart_resize(height, width, factor, edges.shortest_edge, edges.longest_edge)
        if limit is None:
            return count, size
        text = max(map(options["timestamp_tokens"], seconds.tolist()))
        tokens = size[0] * size[1] // factor**2
        fitting = min(count, limit // (tokens + text))
        least = count if options["num_frames"] is not None else min(count, 8)
        if fitting >= least:
            return fitting, size
        smallest = min(edges.shortest_edge, size[0] * size[1])
        for fewer in range(least, 0, -1):
            pixels = (limit // fewer - text) * factor**2
            if options["do_resize"] and pixels >= smallest:
                smaller = smart_resize(height, width, factor, smallest, pixels)
                # An extreme aspect ratio cannot be reduced to less than a row of blocks.
                if smaller[0] * smaller[1] <= pixels:
                    return fewer, smaller
            elif fewer <= fitting:
                return fewer, size
        raise ValueError(
            f"`max_tokens` ({limit}) does not hold one frame of this video. Lower `min_pixels` or raise `max_tokens`."
        )

    def sample_frames(
        self,
        metadata: VideoMetadata,
        num_frames: int | None = None,
        fps: int | float | None = None,
        max_frames: int | None = None,
        **kwargs,
    ) -> np.ndarray:
        """
        Choose frames as the released processor does: `fps` frames per second but at most `max_frames`, or
        `num_frames`, or else 8 for videos under 10 seconds, 16 under 30 seconds and `max_frames` beyond; spread evenly
        from the first frame to the last. All frames when the video has no more than that.

        Args:
            metadata (`VideoMetadata`): `total_num_frames`, and `fps` in frames per second.
            num_frames (`int`, *optional*): number of frames.
            fps (`int` or `float`, *optional*): frames per second; not together with `num_frames`.
            max_frames (`int`, *optional*): defaults to that of the video processor.

        Returns:
            int64 `np.ndarray` of shape `(num_sampled_frames,)`: ascending frame indices.

        Raises:
            ValueError: `num_frames` and `fps` are both given, or the frame rate is needed and unknown.
        """
        max_frames = max_frames or self.max_frames
        total = metadata.total_num_frames
        if num_frames is not None and fps is not None:
            raise ValueError("`num_frames` and `fps` are mutually exclusive, pass only one of them.")
        if num_frames is None:
            if metadata.fps is None:
                raise ValueError(
                    "The frame rate of the video is needed to sample it by time: pass `video_metadata` with `fps`, or "
                    "`num_frames`."
                )
            duration = total / metadata.fps
            if fps is not None:
                num_frames = max(1, int(duration * fps))
            else:
                num_frames = 8 if duration < 10 else 16 if duration < 30 else max_frames
            num_frames = min(num_frames, max_frames)
        if num_frames >= total:
            return np.arange(total)
        return np.linspace(0, total - 1, num_frames).round().astype(np.int64)

    def _frames_tensor(self, video, options: dict[str, Any]) -> torch.Tensor:
        """Decoded frames in any accepted form as `[T, C, H, W]`."""
        if isinstance(video, PIL.Image.Image):
            video = [video]
        if isinstance(video, (list, tuple)):
            sizes = {frame.size if isinstance(frame, PIL.Image.Image) else tuple(frame.shape) for frame in video}
            if len(sizes) > 1:
                raise ValueError(f"The frames of a video must have one size, got {sorted(sizes)}.")
            if isinstance(video[0], PIL.Image.Image):
                if options["do_convert_rgb"]:
                    video = [to_rgb(frame) for frame in video]
                video = [np.array(frame) for frame in video]
            video = torch.stack([torch.as_tensor(frame) for frame in video])
        video = torch.as_tensor(video)
        if video.ndim == 3:
            video = video[None]
        if options["device"] is not None:
            video = video.to(options["device"])
        if options["do_rescale"] and video.is_floating_point() and video.min() >= 0 and video.max() <= 1:
            logger.warning_once(
                "The frames are floating point numbers from 0 to 1 and get rescaled again. Pass `do_rescale=False`."
            )
        data_format = options["input_data_format"] or infer_channel_dimension_format(video, num_channels=(1, 3, 4))
        if data_format == ChannelDimension.LAST:
            video = video.permute(0, 3, 1, 2)
        video = to_8_bits(video)
        return self.convert_to_rgb(to_opaque(video)) if options["do_convert_rgb"] else video

    @staticmethod
    def _frames_metadata(
        frames: torch.Tensor, metadata: VideoMetadata | None, options: dict[str, Any]
    ) -> VideoMetadata:
        """Complete what is known about decoded frames, each of which is one entry of `frames_indices`."""
        num_frames, _, height, width = frames.shape
        metadata = replace(metadata) if metadata is not None else VideoMetadata(total_num_frames=num_frames)
        metadata.height, metadata.width = height, width
        indices = metadata.frames_indices
        if indices is None:
            metadata.frames_indices = list(range(num_frames))
            metadata.total_num_frames = num_frames
        elif len(indices) != num_frames:
            raise ValueError(
                f"`video_metadata` names {len(indices)} frames in `frames_indices`, but the video has {num_frames}."
            )
        elif options["do_sample_frames"] and list(indices) != list(range(num_frames)):
            raise ValueError(
                "These frames are a sample already (`frames_indices` is set): they cannot be sampled again."
            )
        if metadata.fps is None and not (options["do_sample_frames"] and options["num_frames"] is None):
            # As the released processor: without a frame rate, frames are one second apart.
            logger.warning_once(
                "The frame rate of decoded frames is unknown, their timestamps count frames as seconds. Pass "
                "`video_metadata` with `fps` for true timestamps."
            )
            metadata.fps = 1.0
        return metadata

    def _resize(self, frame: torch.Tensor, size: tuple[int, int], options: dict[str, Any]) -> torch.Tensor:
        """`[C, H, W]` at `size`, whose sides hold whole blocks."""
        if options["do_resize"]:
            return self.resize(frame, SizeDict(height=size[0], width=size[1]), resample=options["resample"])
        factor = options["patch_size"] * options["merge_size"]
        if size[0] % factor or size[1] % factor:
            raise ValueError(f"Without `do_resize`, sides must be multiples of {factor} pixels: {size[0]}x{size[1]}.")
        return frame

    def _frames_clip(
        self, frames: list[torch.Tensor], seconds: list[float], metadata: VideoMetadata, options: dict[str, Any]
    ) -> _Clip:
        p, m = options["patch_size"], options["merge_size"]
        num_frames, (channels, height, width) = len(frames), frames[0].shape
        rows, columns = height // p, width // p
        patches = frames[0].new_empty(num_frames, rows // m, columns // m, m, m, channels, p, p)
        for out, frame in zip(patches, frames):
            blocks = frame.unflatten(2, (columns // m, m, p)).unflatten(1, (rows // m, m, p))
            out.copy_(blocks.permute(1, 4, 2, 5, 0, 3, 6))  # merge-block order
        return _Clip(
            rows=patches.flatten(0, 4),
            positions=frame_positions(metadata.frames_indices, rows, columns, m),
            grid_thw=(num_frames, rows, columns),
            window_size=options["frame_window_size"],
            metadata=OV2VideoMetadata(
                **{**metadata, "video_backend": "frames", "frames_indices": [int(i) for i in metadata.frames_indices]},
                seconds=seconds,
                run_lengths=[rows * columns // m**2] * num_frames,
            ),
        )

    # Codec backend

    def _tokenize_frames(self, frames: torch.Tensor, metadata: VideoMetadata, options: dict[str, Any]) -> CodecStream:
        """Decoded frames through the codec-stream tokenizer; frames of a sample keep their source indices."""
        if frames.dtype != torch.uint8:
            raise ValueError(
                f"The codec-stream tokenizer needs uint8 frames, got {frames.dtype}. Convert them, or pass "
                "`video_backend='frames'`."
            )
        indices = np.asarray(metadata.frames_indices, dtype=np.int64)
        source = open_source(frames.permute(0, 2, 3, 1).contiguous().cpu().numpy(), fps=metadata.fps)
        stream = tokenize_video(source, options["codec"], timestamp_tokens=options["timestamp_tokens"])
        positions = stream.patch_positions.copy()
        positions[..., 0] = indices[positions[..., 0]]
        frame_ids = indices[stream.frame_ids]
        return replace(
            stream,
            patch_positions=positions,
            frame_ids=frame_ids,
            timestamps=frame_ids / metadata.fps,
            fps=metadata.fps,
        )

    @staticmethod
    def _codec_clip(stream: CodecStream, options: dict[str, Any]) -> _Clip:
        p = options["patch_size"]
        if (stream.patch, stream.merge) != (p, options["merge_size"]):
            raise ValueError(
                f"The codec stream has patches of {stream.patch} merged by {stream.merge}, the video processor needs "
                f"{p} merged by {options['merge_size']}."
            )
        runs = stream.runs()
        seconds = stream.seconds(runs[:, 0]).tolist()
        tokens = stream.num_tokens + sum(map(options["timestamp_tokens"], seconds))
        if options["max_tokens"] is not None and tokens > options["max_tokens"]:
            raise ValueError(
                f"The codec stream takes {tokens} tokens, `max_tokens` is {options['max_tokens']}. Make the stream "
                "with that limit."
            )
        return _Clip(
            rows=torch.from_numpy(stream.patch_rows()).reshape(-1, 3, p, p),
            positions=torch.from_numpy(stream.block_positions()),
            grid_thw=stream.grid_thw,
            window_size=int(stream.canvases_per_group.max()),
            metadata=OV2VideoMetadata(
                total_num_frames=int(stream.groups.max()),
                fps=stream.fps,
                height=stream.canvases.shape[1],
                width=stream.canvases.shape[2],
                duration=float(stream.groups.max() / stream.fps),
                video_backend="codec",
                frames_indices=runs[:, 0].tolist(),
                seconds=seconds,
                run_lengths=runs[:, 1].tolist(),
                signal_source=stream.signal_shares,
            ),
        )

    # Both

    def _normalize_rows(self, rows: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """`(patches, C, patch, patch)` to rescaled and normalised rows `(patches, C * patch * patch)`."""
        if options["device"] is not None:
            rows = rows.to(options["device"])
        rows = self.rescale_and_normalize(
            rows,
            options["do_rescale"],
            options["rescale_factor"],
            options["do_normalize"],
            options["image_mean"],
            options["image_std"],
        )
        return rows.flatten(1)

    def get_num_of_video_patches(
        self, num_frames: int, height: int, width: int, videos_kwargs: dict | None = None
    ) -> int:
        """
        Number of patches of a video of the given size; serving engines call it without the video at hand.

        Exact for `video_backend="frames"`, where `num_frames` is the number of frames that are used. For
        `video_backend="codec"` it is the upper bound `target_canvas` (for `"auto"` that of a long video) × patches of
        a canvas: a short video gives fewer (and `grouping="readiness"` may give more, known only once its packets are
        read). With `max_tokens`, which leaves room for timestamps, it is an upper bound for both.

        Args:
            num_frames (`int`), height (`int`), width (`int`): of the video, in frames and pixels.
            videos_kwargs (`dict`, *optional*): options of a call that replace those of the video processor.

        Returns:
            `int`: patches, `merge_size`² of which make one token of the language model.
        """
        options = self._resolve_options({k: v for k, v in (videos_kwargs or {}).items() if v is not None})
        if options["video_backend"] == "codec":
            config = options["codec"]
            num_frames = config.num_canvases(math.inf)
            height, width = canvas_size(height, width, config)
        elif options["do_resize"]:
            size = options["size"]
            factor = options["patch_size"] * options["merge_size"]
            height, width = smart_resize(height, width, factor, size.shortest_edge, size.longest_edge)
        patches = num_frames * (height // options["patch_size"]) * (width // options["patch_size"])
        if options["max_tokens"] is not None:
            patches = min(patches, options["max_tokens"] * options["merge_size"] ** 2)
        return patches


def _is_codec_stream(video) -> bool:
    """A stream, or the asset folder or archive of one: nothing of it is left to choose."""
    path = local_path(video) or video
    is_folder = isinstance(path, (str, Path)) and os.path.isdir(path)
    return isinstance(video, CodecStream) or is_folder or is_archive(video)


def frame_positions(indices: Sequence[int], rows: int, columns: int, merge_size: int) -> torch.Tensor:
    """
    Source (frame, row, column) of the patches of whole frames in merge-block order.

    Args:
        indices (`Sequence[int]` of length `num_frames`): source frame indices.
        rows (`int`), columns (`int`): patches of a frame, multiples of `merge_size`.
        merge_size (`int`): side of a block in patches.

    Returns:
        int64 `torch.Tensor` of shape `(num_frames * rows * columns, 3)`.
    """
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    grid = grid.reshape(rows // merge_size, merge_size, columns // merge_size, merge_size, 2)
    grid = grid.transpose(1, 2).reshape(-1, 2)
    frames = torch.as_tensor(list(indices), dtype=torch.int64)
    return torch.cat([frames.repeat_interleave(len(grid))[:, None], grid.repeat(len(frames), 1)], dim=1)


def presentation_seconds(table: PacketTable, time_base: Fraction) -> np.ndarray:
    """
    Presentation times of all frames in seconds, float64 `(num_frames,)`: index / average frame rate, as in the
    reference, when that agrees with the timestamps to one unit of the container's time base (they are rounded to it),
    otherwise the timestamps.
    """
    nominal = np.arange(table.num_frames) / table.fps
    constant = np.abs(nominal - table.seconds).max() <= float(time_base)
    return nominal if constant else table.seconds


__all__ = ["OV2VideoProcessor", "OV2VideoProcessorKwargs"]
