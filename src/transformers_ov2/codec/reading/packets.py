# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""One demux pass → a table of packets: when each frame is shown, what it costs, and which frames others depend on.
Nothing is decoded."""

import contextlib
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from .source import VideoError, VideoSource


# Stands for a missing timestamp in int64 arrays (FFmpeg's own AV_NOPTS_VALUE).
NO_TIMESTAMP = np.iinfo(np.int64).min
# Decoding timestamps that step back by more than this start a new segment: parts joined without restamping.
_STEP_BACK_SECONDS = 1.0
# No gap between two frames is longer; larger ones are damaged timestamps.
_MAX_GAP_SECONDS = 86400.0
# Packets decoded to check timestamps that look wrong.
_VERIFIED_PACKETS = 64


@dataclass(eq=False)
class PacketTable:
    """The frames a plain decode would show, in presentation order, from packet headers alone. Made by
    [`read_packets`].

    Attributes:
        pts (int64 `[num_frames]`): presentation timestamps in units of the source's `time_base`, not decreasing.
            Where the file has none, or joins parts with clashing ones, they are derived from decoding timestamps.
        seconds (float64 `[num_frames]`): true presentation times, the first shown frame at 0 (start offset and edit
            list applied).
        size (int64 `[num_frames]`): bytes of the packet.
        is_key (bool `[num_frames]`): the container's key flag.
        is_reference (bool `[num_frames]`): other frames may be predicted from this one. False only where the stream
            says so (H.264 `nal_ref_idc` 0, HEVC sub-layer non-reference pictures of the highest sub-layer).
        decode_index (int64 `[num_frames]`): position of the packet in decoding order, packets that are not shown
            counted too.
        fps (`float`): average frames per second.
        packets (`PacketSequence`, *optional*): every packet in decoding order; what `decode_frames` works from. None
            for decoded frames.
    """

    pts: np.ndarray
    seconds: np.ndarray
    size: np.ndarray
    is_key: np.ndarray
    is_reference: np.ndarray
    decode_index: np.ndarray
    fps: float
    packets: "PacketSequence | None" = field(default=None, repr=False)

    @property
    def num_frames(self) -> int:
        return len(self.pts)

    @property
    def duration(self) -> float:
        """Seconds, the last frame shown as long as the average one."""
        return float(self.seconds[-1]) + (1 / self.fps if self.fps > 0 else 0.0)


@dataclass(eq=False)
class PacketSequence:
    """Every packet of the video stream in decoding order, with the container's own timestamps (`NO_TIMESTAMP` where
    it has none)."""

    pts: np.ndarray  # int64 [num_packets]
    dts: np.ndarray  # int64 [num_packets]
    size: np.ndarray  # int64 [num_packets], bytes
    frame: np.ndarray  # int64 [num_packets], presentation index, -1 for packets that show nothing
    is_reference: np.ndarray  # bool [num_packets]
    is_entry: np.ndarray  # bool [num_packets]: decoding may start here (leading pictures excepted)


def read_packets(source: VideoSource) -> PacketTable:
    """Reads the headers of all packets of the video stream, without decoding.

    One exception: where frames are reordered but carry no presentation timestamps (H.264 in AVI, raw streams), only
    a decoder knows their order, so the stream is decoded once. Decoded frames get size 0, a key flag on the first
    one and even times.

    Raises:
        VideoError: no packet can be read, or there are more frames than the source's `max_source_frames`.

    Warns:
        UserWarning: the file ends early; what is there is used.
    """
    if source.codec == "frames":
        return _frames_table(source)
    with source.open() as (container, stream):
        packets, keys, reordered = _demux(source, container, stream)
    shown = np.flatnonzero(packets.frame >= 0)
    missing = packets.pts[shown] == NO_TIMESTAMP
    clock = np.where(packets.dts == NO_TIMESTAMP, packets.pts, packets.dts)
    times = _continuous(np.where(packets.pts == NO_TIMESTAMP, clock, packets.pts), clock, packets.is_entry, source)
    order = shown[np.argsort(times[shown], kind="stable")] if len(shown) else shown
    if reordered and missing.any():
        order = None
    elif len(shown) and (
        # A second field may come as a packet of its own.
        source.interlaced
        # Times that do not reorder where the codec does may be decoding times in disguise (AVI).
        or (reordered and np.array_equal(order, shown))
        # Pictures at the start may have lost what they are predicted from (files cut at an open GOP or in the
        # middle of one).
        or order[0] != shown[0]
        or not packets.is_entry[0]
    ):
        order = _verify(source, order)
    if order is None:
        order = _output_order(source, len(packets.size))
        times[order] = np.sort(times[order])
    if not len(order):
        raise VideoError(f"{source.name}: shows no frame.")
    packets.is_entry[0] = True
    shown = order
    packets.frame[:] = -1
    packets.frame[shown] = np.arange(len(shown))
    pts = times[shown]
    seconds = (pts - pts[0]) * source.time_base.numerator / source.time_base.denominator
    return PacketTable(
        pts=pts,
        seconds=seconds,
        size=packets.size[shown],
        is_key=keys[shown],
        is_reference=packets.is_reference[shown],
        decode_index=shown,
        fps=_average_fps(source.average_rate, seconds),
        packets=packets,
    )


def _frames_table(source: VideoSource) -> PacketTable:
    n = len(source.frames)
    index = np.arange(n, dtype=np.int64)
    return PacketTable(
        pts=index,
        seconds=index / float(source.average_rate),
        size=np.zeros(n, np.int64),
        is_key=index == 0,
        is_reference=np.ones(n, bool),
        decode_index=index,
        fps=float(source.average_rate),
    )


def _demux(source: VideoSource, container, stream) -> tuple[PacketSequence, np.ndarray, bool]:
    """Returns the packets in decoding order (`frame` is 0 for those that show something, else -1), key flags, and
    whether the codec may reorder pictures."""
    inspect = PacketInspector(stream.codec_context)
    reordered = source.codec not in _NEVER_REORDERED and source.has_b_frames
    pts, dts, size, key, reference, entry, shown, layer = ([] for _ in range(8))
    skip_leading = True  # HEVC: leading pictures of the first (or a broken) random access point are not output
    damaged, empty = None, 0
    try:
        for packet in container.demux(stream):
            if not packet.size:  # a frame that AVI repeats, or the end
                empty += packet.dts is not None
                continue
            if len(pts) == source.max_source_frames:
                raise VideoError(
                    f"{source.name}: has more than {source.max_source_frames} frames, the limit (`max_source_frames`)."
                )
            picture = inspect(packet)
            if source.codec == "hevc":
                if picture.is_entry:
                    skip_leading = not entry or picture.breaks_link
                elif picture.is_skippable and skip_leading:
                    picture.is_shown = False
            pts.append(NO_TIMESTAMP if packet.pts is None else packet.pts)
            dts.append(NO_TIMESTAMP if packet.dts is None else packet.dts)
            size.append(packet.size)
            key.append(picture.is_key)
            reference.append(picture.is_reference)
            entry.append(picture.is_entry)
            shown.append(0 if picture.is_shown and not packet.is_discard else -1)
            layer.append(picture.temporal_id)
    except av.FFmpegError as error:
        damaged = error.strerror
    if not pts:
        raise VideoError(f"{source.name}: holds no video packets" + (f" ({damaged})." if damaged else "."))
    # The index of a QuickTime file knows what its edit list leaves out, the number in its header does not. Headers
    # written while recording may promise a frame that never came.
    expected = len(stream.index_entries) if container.format.name.startswith("mov") else source.num_frames_hint
    if damaged or len(pts) + empty < expected - 1:
        of = f" of {expected}" if expected else ""
        warnings.warn(
            f"{source.name}: the file ends early; {len(pts)}{of} packets could be read"
            + (f" ({damaged})." if damaged else "."),
            stacklevel=4,
        )
    sequence = PacketSequence(
        pts=np.array(pts, np.int64),
        dts=np.array(dts, np.int64),
        size=np.array(size, np.int64),
        frame=np.array(shown, np.int64),
        is_reference=needed(reference, layer),
        is_entry=np.array(entry),
    )
    return sequence, np.array(key), bool(reordered)


# Intra-only codecs and those whose containers hold pictures in the order they are shown.
_NEVER_REORDERED = ("mjpeg", "vp8", "vp9", "av1", "gif", "apng", "rawvideo", "ffv1", "prores", "dnxhd")


def needed(is_reference: Sequence[bool], temporal_id: Sequence[int]) -> np.ndarray:
    """Which pictures others may be predicted from, bool of the same length: a non-reference picture of a lower HEVC
    sub-layer may still be needed by a higher one."""
    return np.array(is_reference) | (np.array(temporal_id) < max(temporal_id))


@dataclass
class PictureHeader:
    """What a packet and its first bytes tell, see [`PacketTable`] for `is_key` and `is_reference`."""

    is_key: bool = False
    is_reference: bool = True
    is_entry: bool = False
    is_shown: bool = True
    is_skippable: bool = False  # HEVC RASL: undecodable when decoding starts at the random access point before it
    breaks_link: bool = False  # HEVC BLA
    temporal_id: int = 0


class PacketInspector:
    """Tells what the packets of a stream hold."""

    def __init__(self, codec_context: av.video.codeccontext.VideoCodecContext):
        codec = codec_context.codec.canonical_name
        inspectors = {"h264": _inspect_h264, "hevc": _inspect_hevc, "vp8": _inspect_vp8, "vp9": _inspect_vp9}
        self._inspect = inspectors.get(codec)
        self._length_size = _nal_length_size(codec, codec_context.extradata)

    def __call__(self, packet: av.Packet) -> PictureHeader:
        is_key = packet.is_keyframe
        if self._inspect is None:
            return PictureHeader(is_key, is_entry=is_key)
        header = self._inspect(memoryview(packet), self._length_size, is_key)
        header.is_key = is_key
        header.is_reference |= is_key
        return header


def _nal_length_size(codec: str, extradata: bytes | None) -> int:
    """Bytes of the length before each NAL unit (avcC, hvcC), 0 for start codes (Annex B)."""
    if codec == "h264" and extradata and len(extradata) > 6 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    if (
        codec == "hevc"
        and extradata
        and len(extradata) > 22
        and (extradata[0] == 1 or extradata[:3] not in (b"\0\0\0", b"\0\0\1"))
    ):
        return (extradata[21] & 3) + 1
    return 0


def _nal_units(data: memoryview, length_size: int):
    """Yields the start of each NAL unit, at most 64 bytes of each."""
    if length_size:
        position, end = 0, len(data)
        while position + length_size < end:
            length = int.from_bytes(data[position : position + length_size], "big")
            position += length_size
            yield bytes(data[position : position + min(length, 64)])
            position += length
    else:
        # Slices are the last units of a picture, so only the units before them are searched.
        raw = bytes(data)
        position = raw.find(b"\0\0\1")
        while position >= 0:
            yield raw[position + 3 : position + 67]
            position = raw.find(b"\0\0\1", position + 3)


def _inspect_h264(data: memoryview, length_size: int, is_key: bool) -> PictureHeader:
    recovery = False
    for unit in _nal_units(data, length_size):
        if not unit:
            continue
        kind = unit[0] & 31
        if kind in (1, 2, 5):
            return PictureHeader(is_reference=unit[0] & 0x60 != 0, is_entry=kind == 5 or (is_key and recovery))
        if kind == 6 and is_key:
            recovery = recovery or _recovers_at_once(unit)
    return PictureHeader()


def _recovers_at_once(unit: bytes) -> bool:
    """Whether an H.264 SEI unit holds a recovery point with `recovery_frame_cnt` 0: pictures from here on are
    exact."""
    position = 1
    while position + 2 < len(unit):
        kind = length = 0
        while position < len(unit) and unit[position] == 255:
            kind += 255
            position += 1
        kind += unit[position] if position < len(unit) else 0
        position += 1
        while position < len(unit) and unit[position] == 255:
            length += 255
            position += 1
        length += unit[position] if position < len(unit) else 0
        position += 1
        if kind == 6:
            return position < len(unit) and unit[position] & 0x80 != 0  # Exp-Golomb: a leading 1 is zero
        position += length
    return False


def _inspect_hevc(data: memoryview, length_size: int, is_key: bool) -> PictureHeader:
    for unit in _nal_units(data, length_size):
        if len(unit) < 2:
            continue
        kind = unit[0] >> 1 & 63
        if kind < 32 and not (unit[0] & 1 or unit[1] >> 3):  # a slice of the base layer
            return PictureHeader(
                is_reference=not (kind < 16 and kind % 2 == 0),
                is_entry=16 <= kind <= 23,
                is_skippable=kind in (8, 9),
                breaks_link=16 <= kind <= 18,
                temporal_id=max((unit[1] & 7) - 1, 0),
            )
    return PictureHeader()


def _inspect_vp8(data: memoryview, length_size: int, is_key: bool) -> PictureHeader:
    return PictureHeader(is_entry=is_key, is_shown=bool(data[0] & 0x10))


def _inspect_vp9(data: memoryview, length_size: int, is_key: bool) -> PictureHeader:
    # A superframe ends with a marker byte 110xxxxx and always shows a picture; a lone hidden picture says so in its
    # header: marker (2 bits), profile (2, one more when it is 3), show_existing_frame, frame_type, show_frame.
    first, last = data[0], data[-1]
    shift = 1 if first & 0x30 == 0x30 else 0
    hidden = last & 0xE0 != 0xC0 and first >> 6 == 2 and not shift and not first & 0x08 and not first & 0x02
    return PictureHeader(is_entry=is_key, is_shown=not hidden)


def _verify(source: VideoSource, order: np.ndarray) -> np.ndarray | None:
    """Holds the presumed order of packets against the first pictures that a decoder gives. Returns the order without
    undecodable pictures at its start, or None if it is wrong in another way."""
    found = _output_order(source, _VERIFIED_PACKETS)
    if len(order) > _VERIFIED_PACKETS:  # the last ones may lack pictures that come after the limit
        found = found[:-16]
    if not len(found) or found[-1] not in order:
        return None
    head = order[: np.flatnonzero(order == found[-1])[0] + 1]
    lost = len(head) - len(found)
    return order[lost:] if lost >= 0 and np.array_equal(head[lost:], found) else None


def _output_order(source: VideoSource, limit: int) -> np.ndarray:
    """Decodes the first `limit` packets; returns the numbers of those that give a picture, in the order of output."""
    order: list[int] = []
    with source.open() as (container, stream):
        decoder = stream.codec_context
        decoder.options |= {"skip_loop_filter": "all"}  # pictures are thrown away, only their order counts
        packets = (packet for packet in _until_damage(container.demux(stream)) if packet.size)
        for number, packet in enumerate(itertools.islice(packets, limit)):
            packet.pts = packet.dts = number
            with contextlib.suppress(av.FFmpegError):
                order += [frame.pts for frame in decoder.decode(packet)]
        with contextlib.suppress(av.FFmpegError):
            order += [frame.pts for frame in decoder.decode(None)]
    return np.array([number for number in dict.fromkeys(order) if number is not None], np.int64)


def _until_damage(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    with contextlib.suppress(av.FFmpegError):
        yield from packets


def _continuous(times: np.ndarray, clock: np.ndarray, is_entry: np.ndarray, source: VideoSource) -> np.ndarray:
    """Timestamps of one running clock, in decoding order: steps back and absurd gaps of the decoding clock are
    closed, gaps in it filled."""
    steps = np.diff(clock.astype(np.float64)) * float(source.time_base)
    sane = not (clock == NO_TIMESTAMP).any() and abs(float(times[0])) < 2.0**61
    # Decoding times never step back in a sound stream. At a random access point that means another part; elsewhere,
    # little steps are left alone.
    lowest = np.where(is_entry, 0.0, -_STEP_BACK_SECONDS)
    if sane and ((steps >= lowest[1:]) & (steps < _MAX_GAP_SECONDS)).all():
        return times
    tick = max(1, round(1 / (float(source.average_rate or 25) * float(source.time_base))))
    out = np.empty_like(times)
    previous, offset = None, 0
    for index, (time, now, least) in enumerate(zip(times.tolist(), clock.tolist(), lowest.tolist())):
        if now == NO_TIMESTAMP:
            now = time = -offset if previous is None else previous + tick - offset
        if previous is None:
            offset = -now
        else:
            step = (now + offset - previous) * float(source.time_base)
            if not least <= step < _MAX_GAP_SECONDS:
                offset = previous + tick - now
        previous = now + offset
        # A presentation time further than a day from its decoding time is damaged.
        lead = 0 if time == NO_TIMESTAMP or abs(time - now) * source.time_base > _MAX_GAP_SECONDS else time - now
        out[index] = previous + lead
    return out


def _average_fps(rate: Fraction | None, seconds: np.ndarray) -> float:
    """The container's average rate, unless the timestamps contradict it by more than a tenth."""
    measured = (len(seconds) - 1) / seconds[-1] if seconds[-1] > 0 else 0.0
    stated = float(rate) if rate else 0.0
    if stated > 0 and (not measured or 0.9 < stated / measured < 1.1):
        return stated
    return float(measured or 1.0)
