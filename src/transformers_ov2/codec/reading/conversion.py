# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""FFmpeg's frames → pictures as they are displayed, at the size asked for, with the side data of the decoder."""

import re
from dataclasses import dataclass

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Interpolation, VideoReformatter

from .pictures import RGB, ColorSpace, PlanarPicture
from .source import VideoSource


# The colour spaces (AVColorSpace) that libswscale converts.
_COLORSPACES = (0, 1, 2, 4, 5, 6, 7, 9)
_PICTURE_TYPES = {1: "I", 2: "P", 3: "B"}
# Exact arithmetic, the same on every machine.
_AREA = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_BILINEAR = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(eq=False)
class DecodedFrame:
    """One decoded frame as it is displayed: turned, mirrored and stretched, its vectors and maps as well.

    Attributes:
        index (`int`): presentation index in the packet table.
        picture (`PlanarPicture`): its pixels, at `size` when one was asked for; None once nobody needs them.
        pict_type (`str`): `"I"`, `"P"`, `"B"` or `""`.
        motion_vectors (structured array `[num_vectors]`, *optional*): FFmpeg's `AVMotionVector`, its fields by name:
            block centre `dst_x`, `dst_y` and size `w`, `h` in pixels of the source's `width` and `height`; the block
            is predicted from `src_x`, `src_y` = dst + motion / motion_scale. `source` is negative for a past
            reference and positive for a future one, not which one. None without vectors (intra pictures, codecs that
            export none).
        quantiser_steps (bool `[rows, columns]`, *optional*): macroblocks whose quantiser differs from that of the one
            before in coding order (H.264, MPEG-4). Only those with a residual can change it: a skipped or purely
            predicted one keeps what the last one had. The same shape for all frames of a source: its coded height and
            width, divided by 16 and rounded up.
    """

    index: int
    picture: PlanarPicture | None
    pict_type: str
    motion_vectors: np.ndarray | None = None
    quantiser_steps: np.ndarray | None = None

    @property
    def image(self) -> np.ndarray:
        """RGB pixels, uint8 `[height, width, 3]`; converted each time."""
        return self.picture.to_rgb()


@dataclass(frozen=True)
class DecodeRequest:
    """What to make of each frame.

    Attributes:
        size (`tuple[int, int]`, *optional*): height and width of the pictures as displayed; those of the source when
            not given.
        side_data (`bool`): motion vectors and quantisers are wanted.
    """

    size: tuple[int, int] | None = None
    side_data: bool = False


class FrameConverter:
    """Turns FFmpeg's frames into `DecodedFrame`s. One per thread.

    Every frame gets the size of the first one of its video, those after a change of resolution too.
    """

    def __init__(self, source: VideoSource, request: DecodeRequest):
        self.request = request
        self.orientation = source.orientation
        # Sizes in decoded orientation: (height, width).
        self.native = self.orientation.size(source.height, source.width)
        self.target = self.native if request.size is None else self.orientation.size(*request.size)
        self.macroblocks = tuple(-(-side // 16) for side in source.coded_size)  # rows, columns
        # One scaler for each conversion: a scaler sets itself up anew whenever its formats or sizes change.
        self.to_rgb, self.to_planar, self.resize_first, self.resize_chroma = (VideoReformatter() for _ in range(4))

    def __call__(self, index: int, frame: av.VideoFrame) -> DecodedFrame:
        """Converts the decoded frame with the presentation index `index`."""
        if frame.colorspace not in _COLORSPACES:
            frame.colorspace = 2  # a reserved or damaged tag: read as an untagged picture
        picture = self._picture(frame)
        picture = PlanarPicture(self.orientation.turn(picture.planes), picture.color)
        out = DecodedFrame(index, picture, _PICTURE_TYPES.get(frame.pict_type, ""))
        if self.request.side_data:
            # Not `frame.side_data`: PyAV (18.1) caches a container there that refers back to the frame, a cycle that
            # keeps every picture until the garbage collector runs. Can go when `Frame.side_data` no longer does.
            side_data = SideDataContainer(frame)
            vectors = side_data.get(SideDataType.MOTION_VECTORS)
            if vectors is not None and len(vectors):
                out.motion_vectors = self._vectors(vectors, frame)
            params = side_data.get(SideDataType.VIDEO_ENC_PARAMS)
            if params is not None:
                out.quantiser_steps = self._steps(params, frame)
        return out

    def from_array(self, index: int, array: np.ndarray) -> DecodedFrame:
        """A decoded frame of a source of frames, uint8 `[height, width, 3]`."""
        array = np.ascontiguousarray(array)
        resized = self.request.size is not None
        picture = self._picture(av.VideoFrame.from_ndarray(array)) if resized else PlanarPicture.from_rgb(array)
        return DecodedFrame(index, picture, "")

    def _picture(self, frame: av.VideoFrame) -> PlanarPicture:
        height, width = self.target
        shrinks = height <= frame.height and width <= frame.width
        if (frame.height, frame.width) == self.target:
            return PlanarPicture.from_rgb(self.to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray())
        planes, color = _planes(frame)
        if planes is None:
            # libswscale resizes RGB by way of YUV, which is off by several steps, and 4:2:0 with chroma that is off
            # by up to 20. Plane by plane it is right to the rounding.
            planar = self.to_rgb.reformat(frame, format="rgb24", threads=1)
            planes, _ = _planes(self.to_planar.reformat(planar, format="gbrp", threads=1))
        out = np.empty((3, height, width), np.uint8)
        for index, (pixels, depth) in enumerate(planes):
            if pixels.shape == (height, width):
                # Not by libswscale, which makes what has more than 8 bits darker by up to three quarters of a level.
                half = 1 << (depth - 8) >> 1
                out[index] = ((pixels.astype(np.uint32) + half) >> (depth - 8)).clip(0, 255) if half else pixels
                continue
            # Values of more than 8 bits are scaled and brought to 8 in one step.
            resized = (self.resize_chroma if index else self.resize_first).reformat(
                av.VideoFrame.from_numpy_buffer(pixels, format="gray8" if depth == 8 else f"gray{depth}le"),
                width,
                height,
                format="gray8",
                interpolation=_AREA if shrinks else _BILINEAR,
                threads=1,
            )
            plane = resized.planes[0]
            out[index] = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width]
        if len(planes) == 1:
            out[1:] = out[0]
        return PlanarPicture(out, color)

    def _vectors(self, side_data: av.sidedata.motionvectors.MotionVectors, frame: av.VideoFrame) -> np.ndarray:
        """As displayed; a copy, of bytes: numpy copies structured arrays field by field."""
        vectors = side_data.to_ndarray()
        vectors = vectors.view(np.uint8).copy().view(vectors.dtype)
        for axis, extent, wanted, have in (
            ("y", "h", self.native[0], frame.height),
            ("x", "w", self.native[1], frame.width),
        ):
            if wanted != have:
                for name in (extent, f"src_{axis}", f"dst_{axis}", f"motion_{axis}"):
                    limits = np.iinfo(vectors[name].dtype)
                    vectors[name] = np.rint(vectors[name] * (wanted / have)).clip(limits.min, limits.max)
        return self.orientation.turn_vectors(vectors, *self.native)

    def _steps(self, params: av.sidedata.encparams.VideoEncParams, frame: av.VideoFrame) -> np.ndarray | None:
        """None unless there is one quantiser for each macroblock, in the order of coding."""
        rows, columns = -(-frame.height // 16), -(-frame.width // 16)
        if params.nb_blocks != rows * columns:
            return None
        fields = {
            "names": ["w", "delta"],
            "formats": ["<i4", "<i4"],
            "offsets": [8, 16],
            "itemsize": params.block_size,
        }
        blocks = np.frombuffer(params, np.dtype(fields), count=params.nb_blocks, offset=params.blocks_offset)
        if (blocks["w"] != 16).any():
            return None
        delta = np.ascontiguousarray(blocks["delta"])
        steps = np.concatenate([[False], delta[1:] != delta[:-1]]).reshape(rows, columns)
        if (rows, columns) != self.macroblocks:  # after a change of resolution
            row, column = (np.arange(now) * have // now for now, have in zip(self.macroblocks, steps.shape))
            steps = steps[row[:, None], column]
        return self.orientation.turn(steps)


# Names of the pixel formats whose planes are used as they are: planar, with interleaved chroma, and grey.
_PLANAR = re.compile(r"(?:yuv[aj]?4\d\dp|gbra?p|gray)(?:9le|1[0246]le)?")
_INTERLEAVED = re.compile(r"nv(?:12|21|16|24|42)|p[024]1[026]le")


def _planes(frame: av.VideoFrame) -> tuple[list[tuple[np.ndarray, int]] | None, ColorSpace]:
    """Y, U and V, or R, G and B, or grey alone, as `[height, width]` and their bits; None where they are packed or
    where chroma reaches over the edge of the picture."""
    layout, width, height = frame.format, frame.width, frame.height
    name, components = layout.name, layout.components[:3]
    interleaved = _INTERLEAVED.fullmatch(name)
    if not interleaved and not _PLANAR.fullmatch(name):
        return None, RGB
    # Interleaved values of 10 and 12 bits are the upper ones of 16.
    depth = 16 if name[0] == "p" else components[0].bits
    dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
    planes = [np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize) for plane in frame.planes]
    if len(components) == 1 or layout.is_rgb:
        return [(planes[component.plane][:height, :width], depth) for component in components], RGB
    wide, high = layout.chroma_width(), layout.chroma_height()
    if width % wide or height % high:
        return None, RGB
    if interleaved:
        pairs = planes[1].view(f"<u{2 * dtype.itemsize}")[:high, :wide]
        chroma = [pairs.astype(dtype), (pairs >> (8 * dtype.itemsize)).astype(dtype)]
        planes[1:] = chroma[::-1] if name in ("nv21", "nv42") else chroma
    full_range = frame.color_range == 2 or name.startswith("yuvj")
    color = ColorSpace.of_yuv(frame.colorspace, full_range, subsampled=(wide, high) != (width, height))
    return [
        (plane[:rows, :columns], depth)
        for plane, rows, columns in zip(planes, (height, high, high), (width, wide, wide))
    ], color
