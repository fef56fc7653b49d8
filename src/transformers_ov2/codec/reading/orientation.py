# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""How a decoded picture is turned and mirrored for display, for pictures, motion vectors and maps alike."""

from dataclasses import dataclass

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture on a screen: columns and rows are exchanged first, then mirrored.

    Attributes:
        transposed (`bool`): rows become columns.
        flipped_x (`bool`), flipped_y (`bool`): the displayed picture is mirrored left to right, top to bottom.
    """

    transposed: bool = False
    flipped_x: bool = False
    flipped_y: bool = False

    @classmethod
    def of_frame(cls, frame: av.VideoFrame) -> "Orientation":
        """That of the display matrix of a decoded frame, which comes from the container or from an SEI message of the
        stream; of a matrix that scales or turns by other angles, the nearest."""
        # Not `frame.side_data`, see `FrameConverter`.
        matrix = SideDataContainer(frame).get(SideDataType.DISPLAYMATRIX)
        if matrix is None or matrix.buffer_size < 36:
            return cls()
        return cls.of_matrix(np.frombuffer(matrix, "<i4", count=9).reshape(3, 3))

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> "Orientation":
        """
        That of an ISO 14496-12 matrix of shape `(3, 3)`, which takes the row (x, y, 1) to its place on the screen.
        """
        (a, b), (c, d) = matrix[:2, :2].astype(np.int64).tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, flipped_x=c < 0, flipped_y=b < 0)
        return cls(False, flipped_x=a < 0, flipped_y=d < 0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the displayed picture from those of the decoded one, or the other way round."""
        return (width, height) if self.transposed else (height, width)

    def turn(self, array: np.ndarray) -> np.ndarray:
        """A picture or map with its last two axes, rows and columns, as they are displayed."""
        if self == _UPRIGHT:
            return array
        if self.transposed:
            array = array.swapaxes(-1, -2)
        return np.ascontiguousarray(array[..., :: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1])

    def turn_vectors(self, vectors: np.ndarray, height: int, width: int) -> np.ndarray:
        """FFmpeg's motion vectors (`AVMotionVector`, a structured array) of a decoded picture of this size as they
        are displayed."""
        if self == _UPRIGHT:
            return vectors
        out = vectors.copy()
        if self.transposed:
            out["w"], out["h"] = vectors["h"], vectors["w"]
            for name in ("src", "dst", "motion"):
                out[f"{name}_x"], out[f"{name}_y"] = vectors[f"{name}_y"], vectors[f"{name}_x"]
        height, width = self.size(height, width)
        for axis, side, flipped in (("x", width, self.flipped_x), ("y", height, self.flipped_y)):
            if flipped:
                out[f"src_{axis}"] = side - out[f"src_{axis}"]
                out[f"dst_{axis}"] = side - out[f"dst_{axis}"]
                out[f"motion_{axis}"] = -out[f"motion_{axis}"]
        return out


_UPRIGHT = Orientation()
