# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Images in the one form that both image backends and the frames of videos get: upright, opaque, 8 bits a channel.

- The EXIF orientation is applied, to files and to PIL images that carry one.
- Transparency is composited on white.
- 16 bits a channel are scaled to 8, not clipped.
"""

import base64
import binascii
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch

from .codec import VideoError
from .codec.reading.network import NetworkLimits, fetch_bytes
from .video_inputs import local_path


_EXIF_ORIENTATION = 0x0112


def load_image(image, limits: NetworkLimits, still: bool = False) -> PIL.Image.Image | np.ndarray | torch.Tensor:
    """
    An image of any form that the processor takes.

    Args:
        image (`str`, `Path`, `PIL.Image.Image`, `np.ndarray` or `torch.Tensor`):
            A path, an http(s), `file:` or `data:` URL, base64, or an image. Arrays may have their channels first or
            last. Anything else is given back as it is.
        limits (`NetworkLimits`): what may be fetched.
        still (`bool`, *optional*, defaults to `False`): refuse animations, of which the first picture is taken.

    Returns:
        `PIL.Image.Image` in mode RGB, or an array with the layout it came with.

    Raises:
        ValueError: there is no image in it, its values cannot be brought to 8 bits, or it may not be fetched.
    """
    if isinstance(image, (str, Path)):
        image = _open(image, limits, still)
    if isinstance(image, PIL.Image.Image):
        return to_rgb(image)
    if isinstance(image, (np.ndarray, torch.Tensor)):
        return to_opaque(to_8_bits(image))
    return image


def _open(source: str | Path, limits: NetworkLimits, still: bool) -> PIL.Image.Image:
    name = os.fspath(source)
    name = name if len(name) <= 128 else f"{name[:125]}..."
    path = local_path(source) or source
    data: str | BytesIO
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        data = BytesIO(fetch_bytes(name, source, limits))
    elif os.path.isfile(path):
        data = os.fspath(path)
    else:
        try:
            data = BytesIO(base64.b64decode(str(source).rpartition("base64,")[2], validate=True))
        except (binascii.Error, ValueError):
            raise ValueError(f"There is no image {name!r}: it is no file, no URL and no base64.") from None
    try:
        image = PIL.Image.open(data)
        image.load()
        num_pictures = getattr(image, "n_frames", 1)
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise VideoError(f"{name}: cannot be read as an image ({error}).") from error
    if still and num_pictures > 1:
        raise VideoError(
            f"{name}: is an animation of {num_pictures} pictures and no frame; convert it to a video file."
        )
    return image


def to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Upright, opaque, mode RGB."""
    if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        image = PIL.ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Earlier releases of Pillow open 16-bit files as 32-bit integers.
        array = np.asarray(image)
        if array.min() < 0 or array.max() > 65535:
            raise ValueError(
                "An image of 32-bit integers has no known range: scale it to 8 or 16 bits a channel first."
            )
        return PIL.Image.fromarray(to_8_bits(array.astype(np.uint16))).convert("RGB")
    if image.mode == "F":
        raise ValueError(
            "An image of floating-point numbers has no known range: convert it to 8 bits a channel first."
        )
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, image)
    return image.convert("RGB")


def to_8_bits(array: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """uint16 of the full range 0 to 65535 as uint8, rounded; any other type as it is."""
    if isinstance(array, torch.Tensor):
        return torch.from_numpy(to_8_bits(array.cpu().numpy())) if array.dtype == torch.uint16 else array
    if array.dtype != np.uint16:
        return array
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_opaque(array: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """
    RGBA, `(..., H, W, 4)` or `(..., 4, H, W)`, composited on white: uint8, or floating point from 0 to 1. Any other
    number of channels as it is.
    """
    axis = next((axis for axis in (-1, -3) if array.ndim >= 3 and array.shape[axis] == 4), None)
    if axis is None or array.shape[-1 if axis == -3 else -3] in (1, 3):
        return array
    if isinstance(array, torch.Tensor):
        return torch.from_numpy(to_opaque(array.cpu().numpy()))
    if array.dtype == np.uint8:
        one, work = 255, np.uint16
    elif np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1:
        one, work = 1, array.dtype
    else:
        raise ValueError(f"Transparency needs uint8, or floating-point numbers from 0 to 1, got {array.dtype}.")
    last = np.moveaxis(array, axis, -1)
    rgb = np.empty((*last.shape[:-1], 3), dtype=array.dtype)
    # Picture by picture, so that a video needs no second copy in a wider type.
    for index in np.ndindex(last.shape[:-3]):
        alpha = last[index][..., 3:].astype(work)
        mixed = last[index][..., :3] * alpha + one * (one - alpha)
        rgb[index] = (mixed + 127) // 255 if one == 255 else mixed
    return np.moveaxis(rgb, -1, axis)


__all__ = ["load_image", "to_8_bits", "to_opaque", "to_rgb"]
