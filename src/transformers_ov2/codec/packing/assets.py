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

import json
import math
import os
from pathlib import Path

import numpy as np

from ..deciding.fusion import SIGNAL_SOURCES
from ..reading.source import VideoError
from .canvas import CodecStream


def read_assets(folder: str | os.PathLike) -> CodecStream:
    """
    Read an asset folder. Its `timestamps` are frame / fps, as the released processor computes them, unless
    [`write_assets`] stored true ones.

    Args:
        folder (`str` or `os.PathLike`): a folder that the reference tool or [`write_assets`] wrote.

    Returns:
        [`CodecStream`]

    Raises:
        VideoError: a file is missing or damaged, or the files do not fit each other.
    """
    folder = Path(folder)
    meta = _read_meta(folder)
    patch, merge = (_count(folder, meta, key, default) for key, default in (("patch", 14), ("block_size", 2)))
    per_group = _count(folder, meta, "images_per_group", 4)
    fps = meta.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < math.inf:
        raise VideoError(f"{folder}: `fps` of meta.json must be a positive number, got {fps!r}.")

    canvases = _read_canvases(folder, meta, patch * merge)
    num_canvases, height, width, _ = canvases.shape
    num_patches = (height // patch) * (width // patch)
    positions = _read_array(folder, "src_patch_position.npy")
    if positions.shape[-1:] != (3,) or positions.size != num_canvases * num_patches * 3:
        raise VideoError(
            f"{folder}: src_patch_position.npy has shape {positions.shape}; {num_canvases} canvases of "
            f"{height}x{width} pixels have {num_canvases * num_patches} patches of {patch} pixels, 3 coordinates each."
        )
    positions = positions.reshape(num_canvases, num_patches, 3)
    if (positions < -1).any() or ((positions == -1).any(axis=2) != (positions == -1).all(axis=2)).any():
        raise VideoError(f"{folder}: src_patch_position.npy holds coordinates that are neither a place nor padding.")

    frame_ids = np.unique(_read_array(folder, "frame_ids.npy"))
    try:
        timestamps = np.asarray(meta.get("timestamps", frame_ids / fps), dtype=np.float64)
    except (TypeError, ValueError) as error:
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
    counts = [min(per_group, num_canvases - start) for start in range(0, num_canvases, per_group)]
    stream = CodecStream(
        canvases=canvases,
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
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise VideoError(f"{folder}: is no asset folder, meta.json cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise VideoError(f"{folder}: meta.json is damaged ({error}).") from error
    if not isinstance(meta, dict):
        raise VideoError(f"{folder}: meta.json must hold an object, got {type(meta).__name__}.")
    return meta


def _count(folder: Path, meta: dict, key: str, default: int) -> int:
    value = meta.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise VideoError(f"{folder}: `{key}` of meta.json must be a positive integer, got {value!r}.")
    return value


def _read_canvases(folder: Path, meta: dict, factor: int) -> np.ndarray:
    from PIL import Image

    names = meta.get("canvas_files")
    if not isinstance(names, list) or not names:
        raise VideoError(f"{folder}: meta.json lists no `canvas_files`.")
    canvases = []
    for name in names:
        # Names come from a data set: they must not lead out of the folder.
        if not isinstance(name, str) or Path(name).name != name or Path(name).suffix not in (".jpg", ".png"):
            raise VideoError(f"{folder}: {name!r} is not the name of a canvas (canvas_*.jpg or canvas_*.png).")
        try:
            with Image.open(folder / name) as image:
                canvas = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise VideoError(f"{folder}: {name} cannot be read as an image ({error}).") from error
        if canvases and canvas.shape != canvases[0].shape:
            raise VideoError(f"{folder}: {name} differs in size from {names[0]}.")
        canvases.append(canvas)
    height, width, _ = canvases[0].shape
    if height % factor or width % factor:
        raise VideoError(
            f"{folder}: canvases of {height}x{width} pixels do not divide into blocks of {factor} pixels."
        )
    return np.stack(canvases)


def _read_array(folder: Path, name: str) -> np.ndarray:
    """An array of integers, as int64."""
    try:
        array = np.load(folder / name, allow_pickle=False)
    except OSError as error:
        raise VideoError(f"{folder}: {name} cannot be read ({error.strerror or error}).") from error
    except (ValueError, EOFError) as error:
        raise VideoError(f"{folder}: {name} is damaged ({error}).") from error
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer):
        raise VideoError(f"{folder}: {name} must hold integers.")
    return array.astype(np.int64)


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
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise VideoError(f"{folder}: `groups` of meta.json do not fit the canvases.") from error
    return bounds
