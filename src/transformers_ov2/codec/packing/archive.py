# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Asset folders as one zip file or `bytes`: the form in which streams travel in tables, tars and object stores."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path

from ..reading.source import VideoError
from .assets import read_assets, write_assets
from .canvas import CodecStream


# What a zip file starts with; no video does.
MAGIC = b"PK\x03\x04"
# Bytes of all files of an archive: 384 large canvases without loss take about as much.
MAX_ARCHIVE_BYTES = 2**29


def write_archive(stream: CodecStream, image_format: str = "jpg") -> bytes:
    """
    A stream as the bytes of a zip file that holds what [`write_assets`] writes. Equal streams give equal bytes.

    Args:
        stream (`CodecStream`): what to write.
        image_format (`str`, defaults to `"jpg"`): `"jpg"`, or `"png"`, without loss.
    """
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        write_assets(stream, folder, image_format)
        with zipfile.ZipFile(content, "w") as archive:
            for path in sorted(Path(folder).iterdir()):
                # A fixed date. Pictures are compressed already; positions are not.
                entry = zipfile.ZipInfo(path.name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_STORED if path.suffix[1:] == image_format else zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
    return content.getvalue()


def read_archive(archive: bytes | str | os.PathLike, name: str = "archive") -> CodecStream:
    """
    Read a stream that [`write_archive`] wrote.

    Args:
        archive (`bytes`, `str` or `os.PathLike`): its bytes, or the path of the file.
        name (`str`): what messages call the bytes.

    Raises:
        VideoError: it is no archive of one stream, or larger than the limits; see [`read_assets`].
    """
    if not isinstance(archive, bytes | bytearray | memoryview):
        name = str(archive)
    try:
        with zipfile.ZipFile(archive if isinstance(archive, str | os.PathLike) else io.BytesIO(archive)) as file:
            entries = file.infolist()
            for entry in entries:
                if entry.filename != Path(entry.filename).name or entry.is_dir():
                    raise VideoError(f"{name}: {entry.filename!r} is no file of an asset folder.")
            if len({entry.filename for entry in entries}) < len(entries):
                raise VideoError(f"{name}: holds two files of one name.")
            if sum(entry.file_size for entry in entries) > MAX_ARCHIVE_BYTES:
                raise VideoError(f"{name}: its files take more than {MAX_ARCHIVE_BYTES} bytes.")
            with tempfile.TemporaryDirectory() as folder:
                for entry in entries:
                    # `read` gives no more than the size that was added up above.
                    (Path(folder) / entry.filename).write_bytes(file.read(entry))
                try:
                    return read_assets(folder)
                except VideoError as error:
                    raise VideoError(str(error).replace(folder, name)) from error
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{name}: cannot be read as an archive of a codec stream ({error}).") from error
