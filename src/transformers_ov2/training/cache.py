# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A cache of codec streams on disk: a video is tokenized once, whatever it is called and however often it is read."""

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from transformers.utils import logging

from .. import __version__
from ..codec import CodecStream, CodecStreamConfig, tokenize_video
from ..codec.deciding.budget import timestamp_text_tokens
from ..codec.reading.source import VideoSource, open_source


logger = logging.get_logger(__name__)

# Raise when streams of the same options change without a new version of the package, or the layout of entries does.
CACHE_FORMAT = 3
# Times of every length in digits: their token counts stand for the tokenizer that counts timestamps.
_PROBE_SECONDS = (0.0, 10.0, 100.0, 1000.0, 10000.0)
_ARRAYS = ("canvases", "patch_positions", "groups", "canvases_per_group", "frame_ids", "timestamps")
_SCALARS = ("fps", "signal_source", "patch", "merge")


class CorruptEntryError(ValueError):
    """A cache entry that is no complete codec stream."""


@dataclass
class CodecStreamCache:
    """
    Codec streams in safetensors files under `folder`, one folder per codec configuration and one file per video.

    An entry is found by the SHA-256 of the video's content, never by its path, and by every option that changes the
    stream. Entries appear under their name only when they are complete; an entry that cannot be read, or whose
    checksum differs, is made again. Any number of processes may share a cache.

    Args:
        folder (`str` or `Path`): where the entries are, created when needed.
    """

    folder: str | Path

    def get(
        self, video: Any, config: CodecStreamConfig, timestamp_tokens: Callable[[float], int] = timestamp_text_tokens
    ) -> CodecStream:
        """
        The codec stream of a video, from the cache when it is there, otherwise tokenized and written.

        Args:
            video: anything that [`~transformers_ov2.codec.reading.source.open_source`] takes, or what it returned.
            config (`CodecStreamConfig`): the options of the tokenizer.
            timestamp_tokens (`Callable[[float], int]`, *optional*):
                Language model tokens of the timestamp for a time in seconds, which matter under `config.max_tokens`.

        Raises:
            VideoError: the video cannot be read.
            OSError: the entry cannot be written.
        """
        source = video if isinstance(video, VideoSource) else open_source(video)
        path = self.path(source.fingerprint(), config, timestamp_tokens)
        if path.exists():
            try:
                return read_stream(path)
            except CorruptEntryError as error:
                logger.warning(f"Tokenizing {source.name} again: {error}")
        stream = tokenize_video(source, config, timestamp_tokens=timestamp_tokens)
        write_stream(path, stream)
        return stream

    def path(
        self,
        fingerprint: str,
        config: CodecStreamConfig,
        timestamp_tokens: Callable[[float], int] = timestamp_text_tokens,
    ) -> Path:
        """The file of the video with this content (SHA-256 as hex) under this configuration."""
        options = {name: value for name, value in config.to_dict().items() if name != "num_threads"}
        if config.max_tokens is not None:
            options["timestamp_tokens"] = [timestamp_tokens(seconds) for seconds in _PROBE_SECONDS]
        key = json.dumps([CACHE_FORMAT, __version__, options], sort_keys=True)
        configuration = hashlib.sha256(key.encode()).hexdigest()[:16]
        return Path(self.folder) / configuration / fingerprint[:2] / f"{fingerprint}.safetensors"


def write_stream(path: str | Path, stream: CodecStream) -> None:
    """
    Write a codec stream to a safetensors file, which appears when it is complete. `timings` are not kept.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    arrays = {name: np.ascontiguousarray(getattr(stream, name)) for name in _ARRAYS}
    metadata = {"stream": json.dumps({name: getattr(stream, name) for name in _SCALARS})}
    metadata["checksum"] = _checksum(arrays, metadata["stream"])
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:16]}-", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(save(arrays, metadata))
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_stream(path: str | Path) -> CodecStream:
    """
    Read a codec stream that [`write_stream`] wrote.

    Raises:
        CorruptEntryError: the file is incomplete, damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            metadata = file.metadata() or {}
        scalars = json.loads(metadata["stream"])
        complete = metadata["checksum"] == _checksum(arrays, metadata["stream"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CorruptEntryError(f"{path} cannot be read as a codec stream ({error}).") from error
    if not complete:
        raise CorruptEntryError(f"{path} is damaged, its checksum differs.")
    return CodecStream(**arrays, **scalars)


def _checksum(arrays: dict[str, np.ndarray], metadata: str) -> str:
    checksum = zlib.crc32(metadata.encode())
    for name in _ARRAYS:
        checksum = zlib.crc32(arrays[name], checksum)
    return f"{checksum:08x}"
