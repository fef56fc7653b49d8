# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of a stream that is read once, while it comes in: an encoded one, or pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from .containers import open_container, open_stream
from .conversion import DecodedFrame, DecodeRequest, FrameConverter
from .packets import PacketInspector, PacketTable, PictureHeader, needed
from .source import VideoError, VideoSource, check_limits


# Packets after which a picture that did not come out of the decoder is given up.
MAX_REORDERED = 256
# Frames per second where neither the container nor the stream tells.
USUAL_RATE = 25


@dataclass
class LiveFrame:
    """
    A frame that arrived.

    Attributes:
        decoded ([`DecodedFrame`], *optional*): the frame; its index counts from the start of the stream. None once it
            was let go.
        seconds (`float`): when it is shown, the first frame at 0; grows from frame to frame.
        size (`int`): bytes of its packet, 0 for pictures.
        header ([`PictureHeader`]): what its packet tells.
        decode_index (`int`): number of its packet.
    """

    decoded: DecodedFrame | None
    seconds: float
    size: int
    header: PictureHeader
    decode_index: int


def live_table(frames: Sequence[LiveFrame], fps: float) -> PacketTable:
    """The packet table of some consecutive frames, as if they were a whole video."""
    return PacketTable(
        pts=np.arange(len(frames)),
        seconds=np.array([frame.seconds for frame in frames]),
        size=np.array([frame.size for frame in frames], dtype=np.int64),
        is_key=np.array([frame.header.is_key for frame in frames]),
        is_reference=needed(
            [frame.header.is_reference for frame in frames], [frame.header.temporal_id for frame in frames]
        ),
        decode_index=np.array([frame.decode_index for frame in frames], dtype=np.int64),
        fps=fps,
    )


class LiveReader:
    """
    Iterates over the frames of a live stream in the order they are shown.

    Args:
        source (`VideoSource`): its name and limits; what else is known of the stream is set with the first frame.
        canvas_size (`Callable[[int, int], tuple[int, int]]`): size of the pictures from that of the video, (height,
            width) both.
    """

    def __init__(self, source: VideoSource, canvas_size: Callable[[int, int], tuple[int, int]]):
        self.source = source
        self.canvas_size = canvas_size

    def _converter(self) -> FrameConverter:
        size = self.canvas_size(self.source.height, self.source.width)
        return FrameConverter(self.source, DecodeRequest(size, side_data=True))


class LivePictures(LiveReader):
    """
    Pictures at a steady rate.

    Raises:
        VideoError: one is not uint8 `(height, width, 3)`, or not of the size of the first, or over the limit.
    """

    def __init__(self, source, canvas_size, frames: Iterable[np.ndarray], fps: float):
        super().__init__(source, canvas_size)
        self.frames = frames
        source.average_rate = Fraction(fps)

    def __iter__(self) -> Iterator[LiveFrame]:
        source, converter, shape = self.source, None, None
        for index, frame in enumerate(self.frames):
            array = np.asarray(frame)
            if (
                array.dtype != np.uint8
                or array.ndim != 3
                or array.shape[2] != 3
                or array.shape != (shape or array.shape)
            ):
                raise VideoError(
                    f"{source.name}: frame {index} must be uint8 of shape {shape or '(height, width, 3)'}, got "
                    f"{array.dtype} of shape {array.shape}."
                )
            if converter is None:
                shape = array.shape
                check_limits(source.name, shape[1], shape[0], 0, source.max_source_pixels, source.max_source_frames)
                source.codec, source.coded_size = "frames", shape[:2]
                source.height, source.width = shape[:2]
                converter = self._converter()
            seconds = float(index / source.average_rate)
            yield LiveFrame(converter.from_array(index, array), seconds, 0, PictureHeader(is_key=index == 0), index)


class LiveStream(LiveReader):
    """
    An encoded stream, read and decoded once. Damaged packets are left out; a broken end is the end.

    Raises:
        VideoError: it is no video, or over a limit.
    """

    def __init__(self, source, canvas_size, file: BinaryIO):
        super().__init__(source, canvas_size)
        self.file = file

    def __iter__(self) -> Iterator[LiveFrame]:
        name, max_pixels = self.source.name, self.source.max_source_pixels
        with open_container(name, self.file, max_pixels) as container:
            yield from self._read(container, open_stream(name, container, max_pixels, side_data=True))

    def _read(
        self, container: av.container.InputContainer, stream: av.video.stream.VideoStream
    ) -> Iterator[LiveFrame]:
        decoder, inspect = stream.codec_context, PacketInspector(stream.codec_context)
        rate = stream.average_rate or stream.guessed_rate or Fraction(USUAL_RATE)
        converter = None
        packets: dict[int, tuple[float | None, int, PictureHeader]] = {}  # by number: seconds, size, header
        index, offset, last = 0, None, 0.0
        for number, packet in enumerate(self._packets(container, stream)):
            if packet is not None:
                seconds = None if packet.pts is None else float(packet.pts * packet.time_base)
                packets[number] = (seconds, packet.size, inspect(packet))
                # Numbers travel through the decoder in place of timestamps, which may be missing or repeat.
                packet.pts = packet.dts = number
            try:
                frames = decoder.decode(packet)
            except av.FFmpegError:  # a damaged packet: what can still be decoded is used
                continue
            for frame in frames:
                if converter is None:
                    self.source.describe(stream, frame)
                    self.source.average_rate = rate
                    converter = self._converter()
                seconds, size, header = packets.pop(frame.pts, (None, 0, PictureHeader()))
                if seconds is not None and offset is not None and seconds - offset > last:
                    now = seconds - offset
                else:
                    # The first frame, or the clock is missing or was set back: it is right from here on.
                    now = last + float(1 / rate) if index else 0.0
                    offset = offset if seconds is None else seconds - now
                yield LiveFrame(converter(index, frame), now, size, header, frame.pts)
                index, last = index + 1, now
            for lost in [key for key in packets if key < number - MAX_REORDERED]:
                del packets[lost]

    def _packets(self, container, stream) -> Iterator[av.Packet | None]:
        """Packets with content, and None at the end, which makes the decoder give what it holds back."""
        with contextlib.suppress(av.FFmpegError):  # a broken end is the end of a live stream
            for packet in container.demux(stream):
                if packet.size:
                    yield packet
        yield None
