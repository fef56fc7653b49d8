# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Asset folders of the reference tool (`cv-preinfer`), the form in which codec training data is kept on disk:

- `canvas_000.jpg` (or `.png`), `canvas_001.jpg`, ...: the canvases,
- `src_patch_position.npy`: source (frame, row, column) of every patch, row-major per canvas, −1 where padded,
- `frame_ids.npy`: the sampled source frames,
- `meta.json`: `canvas_files`, `fps`, `patch`, `block_size`, `images_per_group`, `groups`, ...
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..deciding.fusion import SIGNAL_SOURCES
from ..reading.source import MAX_SOURCE_FRAMES, VideoError
from .canvas import CodecStream


if TYPE_CHECKING:
    from PIL import Image

# Pixels of all canvases of a folder: 384 canvases of nearly 350,000 pixels.
MAX_PIXELS = 2**27
MAX_META_BYTES = 2**26


def read_assets(folder: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> CodecStream:
    """
    Read an asset folder. Its `timestamps` are frame / fps, as the released processor computes them, unless
    [`write_assets`] stored true ones.

    A folder may come from anyone: what its files claim is checked against each other and against the limits before a
    picture is decoded, and nothing outside of it is read.

    Args:
        folder (`str` or `os.PathLike`): a folder that the reference tool or [`write_assets`] wrote.
        max_pixels (`int`, defaults to 134217728): most pixels of all canvases together, 3 bytes each.

    Returns:
        [`CodecStream`]

    Raises:
        VideoError: a file is missing or damaged, the files do not fit each other, or there are too many pixels.
    """
    folder = Path(folder)
    meta = _read_meta(folder)
    patch, merge = (_count(folder, meta, key, default) for key, default in (("patch", 14), ("block_size", 2)))
    per_group = _count(folder, meta, "images_per_group", 4)
    fps = meta.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e9:
        raise VideoError(f"{folder}: `fps` of meta.json must be a positive number, got {fps!r}.")
    names = _canvas_names(folder, meta)

    # Smaller than a patch of pixels is none: the arrays cannot be longer than this.
    positions = _read_array(folder, "src_patch_position.npy", 3 * (max_pixels // patch**2))
    if positions.shape[-1:] != (3,) or positions.size % (3 * len(names)):
        raise VideoError(
            f"{folder}: src_patch_position.npy has shape {positions.shape}, which is not 3 coordinates for each patch "
            f"of {len(names)} canvases."
        )
    positions = positions.reshape(len(names), -1, 3)
    if (positions < -1).any() or ((positions == -1).any(axis=2) != (positions == -1).all(axis=2)).any():
        raise VideoError(f"{folder}: src_patch_position.npy holds coordinates that are neither a place nor padding.")
    frame_ids = np.unique(_read_array(folder, "frame_ids.npy", MAX_SOURCE_FRAMES))
    try:
        timestamps = np.asarray(meta.get("timestamps", frame_ids / fps), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise VideoError(f"{folder}: `timestamps` of meta.json must be numbers.") from error
    if timestamps.shape != frame_ids.shape or not np.isin(positions[..., 0], [-1, *frame_ids]).all():
        raise VideoError(f"{folder}: frame_ids.npy does not list the frames that the patches come from.")

    # The reference knows one kind of evidence.
    signal_source = meta.get("signal_source", ["bits"] * len(frame_ids))
    if (
        not isinstance(signal_source, list)
        or len(signal_source) != len(frame_ids)
        or not all(source in SIGNAL_SOURCES for source in signal_source)
    ):
        raise VideoError(
            f"{folder}: `signal_source` of meta.json must name one of {', '.join(SIGNAL_SOURCES)} for each of the "
            f"{len(frame_ids)} frames of frame_ids.npy."
        )
    counts = [min(per_group, len(names) - start) for start in range(0, len(names), per_group)]
    height, width = _canvas_size(folder, names, positions, patch, patch * merge, max_pixels)
    stream = CodecStream(
        canvases=np.empty((len(names), height, width, 3), np.uint8),
        patch_positions=positions,
        groups=_group_bounds(folder, meta, positions, np.cumsum([0, *counts])),
        canvases_per_group=np.array(counts, dtype=np.int64),
        frame_ids=frame_ids,
        timestamps=timestamps,
        fps=float(fps),
        signal_source=signal_source,
        patch=patch,
        merge=merge,
    )
    frames = stream.block_positions()[:, 0].reshape(-1, merge**2)
    if (frames != frames[:, :1]).any():
        raise VideoError(
            f"{folder}: the {merge}x{merge} patches of some blocks come from different frames: src_patch_position.npy "
            "is not row-major per canvas, or was made for another `block_size`."
        )
    for name, canvas in zip(names, stream.canvases):
        with _open_image(folder, name) as image:
            canvas[:] = np.asarray(image.convert("RGB"))
    return stream


def write_assets(stream: CodecStream, folder: str | os.PathLike, image_format: str = "jpg"):
    """
    Write a stream as an asset folder.

    Args:
        stream (`CodecStream`): what to write.
        folder (`str` or `os.PathLike`): is created; must be empty if it exists.
        image_format (`str`, defaults to `"jpg"`): `"jpg"`, as the reference tool, or `"png"`, without loss.

    Raises:
        ValueError: the format is another one.
        FileExistsError: the folder is not empty.
    """
    from PIL import Image

    if image_format not in ("jpg", "png"):
        raise ValueError(f"`image_format` must be 'jpg' or 'png', got {image_format!r}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty.")

    names = [f"canvas_{index:03d}.{image_format}" for index in range(len(stream.canvases))]
    for name, canvas in zip(names, stream.canvases):
        # Chroma at full resolution: patches of different frames meet on a canvas.
        options = {"quality": 95, "subsampling": 0} if image_format == "jpg" else {}
        Image.fromarray(canvas).save(folder / name, **options)
    np.save(folder / "src_patch_position.npy", stream.patch_positions.reshape(-1, 3).astype(np.int32))
    np.save(folder / "frame_ids.npy", stream.frame_ids.astype(np.int32))
    _, rows, columns = stream.grid_thw
    meta = {
        "canvas_files": names,
        "fps": stream.fps,
        "patch": stream.patch,
        "block_size": stream.merge,
        "hb_wb": [rows, columns],
        "images_per_group": int(stream.canvases_per_group.max()),
        "num_groups": len(stream.groups),
        "total_images": len(names),
        "total_patches": len(names) * rows * columns,
        "groups": [
            {
                "group_idx": index,
                "frame_ids": [frame for frame in stream.frame_ids.tolist() if start <= frame < end],
                "bounds": [start, end],
            }
            for index, (start, end) in enumerate(stream.groups.tolist())
        ],
        "signal_source": stream.signal_source,
        "timestamps": stream.timestamps.tolist(),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _read_meta(folder: Path) -> dict:
    try:
        with _open_file(folder, "meta.json", "is no asset folder, meta.json") as file:
            if os.fstat(file.fileno()).st_size > MAX_META_BYTES:
                raise VideoError(f"{folder}: meta.json is longer than {MAX_META_BYTES} bytes.")
            meta = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{folder}: meta.json is damaged ({error}).") from error
    if not isinstance(meta, dict):
        raise VideoError(f"{folder}: meta.json must hold an object, got {type(meta).__name__}.")
    return meta


def _open_file(folder: Path, name: str, called: str | None = None) -> BinaryIO:
    called = called or name
    try:
        if not stat.S_ISREG(os.stat(folder / name).st_mode):  # opening a pipe would wait for its other end
            raise VideoError(f"{folder}: {called} is no regular file.")
        return open(folder / name, "rb")
    except OSError as error:
        raise VideoError(f"{folder}: {called} cannot be read ({error.strerror or error}).") from error


def _count(folder: Path, meta: dict, key: str, default: int) -> int:
    value = meta.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise VideoError(f"{folder}: `{key}` of meta.json must be a positive integer, got {value!r}.")
    return value


def _canvas_names(folder: Path, meta: dict) -> list[str]:
    names = meta.get("canvas_files")
    if not isinstance(names, list) or not names:
        raise VideoError(f"{folder}: meta.json lists no `canvas_files`.")
    for name in names:
        # Names come from a data set: they must not lead out of the folder.
        if not isinstance(name, str) or Path(name).name != name or Path(name).suffix not in (".jpg", ".png"):
            raise VideoError(f"{folder}: {name!r} is not the name of a canvas (canvas_*.jpg or canvas_*.png).")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise VideoError(f"{folder}: meta.json lists {repeated} more than once in `canvas_files`.")
    return names


def _canvas_size(
    folder: Path, names: list[str], positions: np.ndarray, patch: int, factor: int, max_pixels: int
) -> tuple[int, int]:
    """Height and width of the canvases by the headers of all pictures, none of which is decoded."""
    size = None
    for name in names:
        with _open_image(folder, name) as image:
            if size not in (None, image.size):
                raise VideoError(f"{folder}: {name} differs in size from {names[0]}.")
            size = image.size
        width, height = size
        if len(names) * height * width > max_pixels:
            raise VideoError(
                f"{folder}: {len(names)} canvases of {height}x{width} pixels exceed the limit of {max_pixels} pixels; "
                "raise `max_pixels` if you trust the folder."
            )
    if height % factor or width % factor:
        raise VideoError(
            f"{folder}: canvases of {height}x{width} pixels do not divide into blocks of {factor} pixels."
        )
    rows, columns = height // patch, width // patch
    if rows * columns != positions.shape[1]:
        raise VideoError(
            f"{folder}: src_patch_position.npy has {positions.shape[1]} patches for each canvas; canvases of "
            f"{height}x{width} pixels have {rows * columns} patches of {patch} pixels."
        )
    if (positions[..., 1] >= rows).any() or (positions[..., 2] >= columns).any():
        raise VideoError(f"{folder}: src_patch_position.npy holds places outside of {rows} rows x {columns} columns.")
    return height, width


@contextlib.contextmanager
def _open_image(folder: Path, name: str) -> Iterator[Image.Image]:
    from PIL import Image

    try:
        with _open_file(folder, name) as file, Image.open(file, formats=("JPEG", "PNG")) as image:
            yield image
    except VideoError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError(f"{folder}: {name} cannot be read as an image ({error}).") from error


def _read_array(folder: Path, name: str, max_size: int) -> np.ndarray:
    """An array of at most `max_size` integers, as int64."""
    npy = np.lib.format
    try:
        with _open_file(folder, name) as file:
            version = npy.read_magic(file)
            shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
            size = math.prod(shape)
            if not np.issubdtype(dtype, np.integer):
                raise VideoError(f"{folder}: {name} must hold integers.")
            if size > max_size:
                raise VideoError(f"{folder}: {name} claims shape {shape}, more than the limit of {max_size} numbers.")
            left = os.fstat(file.fileno()).st_size - file.tell()
            if size * dtype.itemsize != left:
                raise VideoError(f"{folder}: {name} claims shape {shape} of {dtype}, which is not {left} bytes.")
            file.seek(0)
            return np.load(file, allow_pickle=False).astype(np.int64)
    except (ValueError, EOFError, TypeError, SyntaxError, TokenError, MemoryError, RecursionError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{folder}: {name} is damaged ({_first_line(error)}).") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _group_bounds(folder: Path, meta: dict, positions: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Source frame bounds of each group: from meta.json if it tells, else those of its patches."""
    groups = meta.get("groups")
    try:
        if groups is None:
            frames = [positions[start:end, :, 0] for start, end in zip(edges[:-1], edges[1:])]
            bounds = [(group[group >= 0].min(initial=group.max()), group.max() + 1) for group in frames]
        else:
            # Not in order: the reference puts a good frame first when the first one is bad.
            bounds = [
                group.get("bounds") or (min(group["frame_ids"]), max(group["frame_ids"]) + 1) for group in groups
            ]
        bounds = np.array(bounds, dtype=np.int64).reshape(len(edges) - 1, 2)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise VideoError(f"{folder}: `groups` of meta.json do not fit the canvases.") from error
    return bounds
