# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Videos as people have them, turned into what the tokenizer opens."""

import base64
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .codec import VideoError
from .codec.packing.archive import MAGIC, read_archive
from .codec.reading.network import NetworkLimits
from .video_inputs import local_path


# Larger files of stores are copied to the disk.
IN_MEMORY = 2**26


def resolve_source(video: Any, limits: NetworkLimits) -> Any:
    """
    Turn a source into one that [`~transformers_ov2.codec.reading.source.open_source`] takes, or into the codec stream
    that it already is.

    - a value of a `datasets` `Video` column, decoded (torchcodec) or not (`{"path", "bytes"}`): the encoded video
      behind it,
    - a `data:` URL in base64: its bytes,
    - an fsspec URL (`s3://`, `gs://`, `hf://`, `zip://clip.mp4::s3://bucket/shard.zip`, …): an open file,
    - the bytes or the path of an archive of [`~transformers_ov2.codec.packing.archive.write_archive`]: its stream,
    - frames of decord (`NDArray`) or torchcodec (`FrameBatch`): an array `[T, H, W, 3]` or tensor `[T, 3, H, W]`.

    Anything else is returned as it is.

    Args:
        video: the source.
        limits (`NetworkLimits`): `allow_network` and `max_download_bytes` apply to fsspec URLs.

    Raises:
        VideoError: it cannot be opened or is refused.
        TypeError: a decoder without the video that it was made from.
    """
    if hasattr(video, "_hf_encoded"):  # datasets 4 and 5 keep it beside the decoder
        video = video._hf_encoded
    if isinstance(video, Mapping) and {"path", "bytes"} & video.keys():
        video = video["bytes"] if video.get("bytes") is not None else video.get("path")
        if video is None:
            raise VideoError("A value of a video column has neither `bytes` nor a `path`.")
    if type(video).__module__.startswith("torchcodec.decoders"):
        raise TypeError(
            "A torchcodec decoder has no motion vectors and may hold any number of frames: pass the path or bytes "
            "that it was made from, or some of its frames (`decoder.get_frames_in_range(...)`)."
        )
    if isinstance(video, str):
        scheme = urlsplit(video).scheme.lower()
        if scheme == "data":
            video = decode_data_url(video)
        elif "://" in video and scheme not in ("file", "http", "https") and not os.path.exists(video):
            video = _open_fsspec(video, limits)
    if is_archive(video):
        return read_archive(local_path(video) or video)
    if hasattr(video, "asnumpy"):
        return video.asnumpy()
    if type(video).__module__.startswith("torchcodec") and hasattr(video, "data"):
        return video.data
    return video


def is_archive(video: Any) -> bool:
    """Whether `video` is the bytes, the path or the `file://` URL of an archive of a codec stream."""
    if isinstance(video, bytes | bytearray | memoryview):
        return bytes(video[: len(MAGIC)]) == MAGIC
    path = local_path(video) or video
    return isinstance(path, str | Path) and "://" not in str(path) and str(path).endswith(".zip")


def decode_data_url(url: str) -> bytes:
    """The content of a `data:` URL in base64; anything else is a `VideoError`."""
    header, _, body = url.partition(",")
    if not header.lower().endswith(";base64"):
        raise VideoError("A `data:` URL must be encoded in base64.")
    try:
        return base64.b64decode(unquote(body), validate=True)
    except ValueError as error:  # `binascii.Error`, or letters that are not ASCII
        raise VideoError(f"A `data:` URL is not valid base64 ({error}).") from error


def _open_fsspec(url: str, limits: NetworkLimits) -> Any:
    import fsspec

    if not limits.allow_network:
        raise VideoError(f"{url}: stores are not read here (`allow_network=False`).")
    if "http:" in url or "https:" in url:
        # fsspec would fetch from any address, without the limits on downloads.
        raise VideoError(f"{url}: http(s) inside of another URL is refused. Pass the http(s) URL of the video itself.")
    # A copy: readers of chained URLs die with the object that `fsspec.open` returns.
    copy = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 (closed when the source is collected)
    try:
        with fsspec.open(url, "rb") as file:
            received = 0
            while chunk := file.read(2**20):
                received += len(chunk)
                if received > limits.max_download_bytes:
                    raise VideoError(f"{url}: is longer than the limit (`max_download_bytes`).")
                copy.write(chunk)
        # Archives are small, and told by their first bytes.
        copy.seek(0)
        start = copy.read(len(MAGIC))
        copy.seek(0)
        return copy.read() if start == MAGIC else copy
    # ImportError: the package of that store is missing; the message names it. KeyError: no such member of an archive.
    except (OSError, ImportError, ValueError, KeyError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{url}: cannot be opened ({error}).") from error
