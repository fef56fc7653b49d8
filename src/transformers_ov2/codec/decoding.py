# Copyright 2026 The transformers_ov2 authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Frame indices → decoded frames and their side data, decoding no more than it takes.

A job is a range of packets from a random access point to the last packet that a wanted frame needs. Jobs run in
parallel, each worker in a container of its own, so that results do not depend on the number of threads: FFmpeg's
frame threading, in contrast, corrupts motion vectors.
"""

import collections
import contextlib
import itertools
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Interpolation, VideoReformatter

from .packets import NO_TIMESTAMP, PacketSequence, PacketTable
from .source import VideoError, VideoSource


# Decoded frames that may wait for the consumer, in bytes, over all workers of a call.
_BUFFER_BYTES = 2**27
# A gap up to this many bytes is read through rather than sought over.
_SKIP_BYTES = 2**20
# Ranges that touch are joined up to this many packets: each range drains the decoder once.
_MIN_JOB_PACKETS = 16
# Frames kept back to bring output into the order of timestamps that contradict it.
_HELD_FRAMES = 16
# The colour spaces (AVColorSpace) that libswscale converts.
_COLORSPACES = (0, 1, 2, 4, 5, 6, 7, 9)
_PICTURE_TYPES = {1: "I", 2: "P", 3: "B"}
# Exact arithmetic, the same on every machine.
_AREA = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_BILINEAR = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

MOTION_VECTOR_DTYPE = np.dtype(
    [
        ("source", "i4"),
        ("w", "u1"),
        ("h", "u1"),
        ("src_x", "i2"),
        ("src_y", "i2"),
        ("dst_x", "i2"),
        ("dst_y", "i2"),
        ("motion_x", "i4"),
        ("motion_y", "i4"),
        ("motion_scale", "u2"),
    ]
)


@dataclass(eq=False)
class DecodedFrame:
    """One decoded frame, everything in display orientation (rotation applied, vectors included).

    Attributes:
        index (`int`): presentation index in the packet table.
        image (uint8 `[height, width, 3]`, *optional*): RGB, at `size` when one was asked for.
        luma (uint8 `[height, width]`, *optional*): the Y plane at native size, as coded (limited or full range);
            pictures of more than 8 bits are cut to their upper 8, RGB ones are converted (BT.601, full range). It
            may be a read-only view into the decoder's buffer.
        pict_type (`str`): `"I"`, `"P"`, `"B"` or `""`.
        motion_vectors (structured array `[num_vectors]` of `MOTION_VECTOR_DTYPE`, *optional*): FFmpeg's
            `AVMotionVector`: block centre `dst_x`, `dst_y` and size `w`, `h` in pixels; the block is predicted from
            `src_x`, `src_y` = dst + motion / motion_scale. `source` is negative for a past reference and positive
            for a future one, not which one. None without vectors (intra pictures, codecs that export none).
        qp (int32 `[ceil(height / 16), ceil(width / 16)]`, *optional*): quantiser of each macroblock (H.264, MPEG-4,
            VP9).
    """

    index: int
    image: np.ndarray | None
    luma: np.ndarray | None
    pict_type: str
    motion_vectors: np.ndarray | None = None
    qp: np.ndarray | None = None


@dataclass(frozen=True)
class _Request:
    """What to make of each frame."""

    size: tuple[int, int] | None
    image: bool
    luma: bool
    side_data: bool


@dataclass
class _Job:
    first: int  # number of the packet decoding starts at: a random access point
    last: int  # number of the last packet that is needed
    wanted: dict[int, int]  # packet number → frame index


def decode_frames(
    source: VideoSource,
    table: PacketTable,
    indices: Sequence[int] | np.ndarray,
    *,
    size: tuple[int, int] | None = None,
    resize: str | None = "area",
    side_data: bool = False,
    image: bool = True,
    luma: bool = False,
    num_threads: int = 1,
) -> Iterator[DecodedFrame]:
    """Decodes the frames at `indices`, in ascending order, each once.

    Only the groups of pictures that hold a wanted frame are read, from their key frame to the last packet needed;
    non-reference pictures that nobody wants never reach the decoder. Frames are bit-equal to those of a plain
    sequential decode, for any `num_threads`. Memory holds a few frames per thread, whatever the length of the video.
    The cheapest call for evidence is `image=False, luma=True, side_data=True`: no colour conversion takes place and
    `luma` is not copied.

    Args:
        source (`VideoSource`), table (`PacketTable`): a source and its own packet table.
        indices (int `[num_wanted]`): presentation indices into `table`; order and repetitions do not matter.
        size (`tuple[int, int]`, *optional*): height and width of `image` in display orientation. Native when not
            given.
        resize (`str`, *optional*): `"area"`, the only way (None is the same): area interpolation where both sides
            shrink, bilinear otherwise.
        side_data (`bool`): export motion vectors and block quantisers.
        image (`bool`): make RGB images.
        luma (`bool`): give the luma plane.
        num_threads (`int`): GOP ranges decoded in parallel; with 1 everything runs in the caller's thread.

    Yields:
        [`DecodedFrame`]

    Raises:
        VideoError: the source cannot be opened any more.
        IndexError: an index is out of range.
        ValueError: a bad `size`, `resize` or `num_threads`.

    Warns:
        UserWarning: frames could not be decoded (damaged or truncated file); those are left out.
    """
    if resize not in ("area", None):
        raise ValueError(f"resize must be 'area', got {resize!r}.")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size must be a height and a width in pixels, got {size}.")
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}.")
    indices = np.unique(np.asarray(indices, dtype=np.int64))
    if len(indices) and not 0 <= indices[0] <= indices[-1] < table.num_frames:
        raise IndexError(
            f"{source.name}: indices must lie in [0, {table.num_frames}), got {indices[0]} to {indices[-1]}."
        )
    request = _Request(None if size is None else (int(size[0]), int(size[1])), image, luma, side_data)
    return _decode(source, table, indices, request, num_threads)


def _decode(
    source: VideoSource, table: PacketTable, indices: np.ndarray, request: _Request, num_threads: int
) -> Iterator[DecodedFrame]:
    if source.codec == "frames":
        converter = _Converter(source, request)
        for index in indices.tolist():
            yield converter.from_array(index, source.frame(index))
        return
    jobs = _plan(table, indices)
    # A single job gets a thread of its own as well, so that the caller works on frames while others are decoded.
    frames = (
        _Pool(source, table, jobs, request, min(num_threads, len(jobs)))
        if num_threads > 1 and len(indices) > 1
        else _decode_jobs(source, table, jobs, request)
    )
    done = 0
    for frame in frames:
        done += 1
        yield frame
    if done < len(indices):
        warnings.warn(
            f"{source.name}: {len(indices) - done} of {len(indices)} frames could not be decoded "
            "(damaged or truncated file).",
            stacklevel=3,
        )


def _plan(table: PacketTable, indices: np.ndarray) -> list[_Job]:
    """Cuts the wanted frames into jobs that start at random access points."""
    packets = table.packets
    entries = np.flatnonzero(packets.is_entry)
    # The presentation index of an entry; one that shows nothing itself cannot tell its leading pictures.
    entry_frames = np.where(packets.frame[entries] < 0, np.iinfo(np.int64).max, packets.frame[entries])
    numbers = table.decode_index[indices]
    # A leading picture (decoded after a key frame, shown before it) is predicted from the group before as well.
    slots = np.searchsorted(entries, numbers, side="right") - 1
    slots = np.where((indices < entry_frames[slots]) & (slots > 0), slots - 1, slots)
    jobs: list[_Job] = []
    for first, number, index in zip(entries[slots].tolist(), numbers.tolist(), indices.tolist()):
        last = jobs[-1].last if jobs else -2
        if first > last + 1 or (first == last + 1 and number - jobs[-1].first >= _MIN_JOB_PACKETS):
            jobs.append(_Job(first, number, {}))
        # Where timestamps contradict the order of decoding, a later frame may need an earlier start.
        jobs[-1].first = min(jobs[-1].first, first)
        jobs[-1].last = max(jobs[-1].last, number)
        jobs[-1].wanted[number] = index
    for job in jobs:
        # A packet that shows nothing may be the second field of the last frame.
        if job.last + 1 < len(packets.frame) and packets.frame[job.last + 1] < 0:
            job.last += 1
    return jobs


class _LostPositionError(Exception):
    """After a seek, the packets are not those of the table."""


class _Reader:
    """A container of its own, giving numbered packets from any random access point on.

    It seeks where the container can and checks where it lands: timestamps and sizes must be those of the packet
    table. Where that fails it reads from the start, which is always right.
    """

    def __init__(self, source: VideoSource, packets: PacketSequence, side_data: bool):
        self.source = source
        self.packets = packets
        self.side_data = side_data
        self.seekable = True
        self._stack = contextlib.ExitStack()
        self._open()

    def close(self) -> None:
        self._stack.close()

    def _open(self) -> None:
        self._stack.close()
        self.container, self.stream = self._stack.enter_context(self.source.open())
        self.decoder = self.stream.codec_context
        if self.side_data:
            self.decoder.options |= {"export_side_data": "mvs+venc_params"}
        self.next = 0  # number of the packet that `_read` returns
        self.sought = False
        self._pending: av.Packet | None = None
        self._packets = self._demux()

    def _demux(self) -> Iterator[av.Packet]:
        with contextlib.suppress(av.FFmpegError):  # a damaged end is the end
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet

    def _read(self) -> av.Packet | None:
        packet, self._pending = self._pending, None
        if packet is None:
            packet = next(self._packets, None)
        if packet is not None:
            if self.next < len(self.packets.size) and packet.size != self.packets.size[self.next]:
                raise _LostPositionError
            self.next += 1
        return packet

    def give_up_seeking(self) -> None:
        self.seekable = False
        self._open()

    def start(self, first: int) -> None:
        """Moves to packet `first`, with a decoder that remembers nothing."""
        far = self.next > first or (self.seekable and self.packets.size[self.next : first].sum() > _SKIP_BYTES)
        if far and not (self.seekable and self._seek(first)):
            self.give_up_seeking()
        while self.next < first and self._read() is not None:
            pass
        self.decoder.flush_buffers()

    def _seek(self, first: int) -> bool:
        # Containers index by either timestamp; the entry before is tried when those land behind the target.
        before = np.flatnonzero(self.packets.is_entry[:first])[-1:]
        targets = [self.packets.pts[first], self.packets.dts[first], *self.packets.dts[before]]
        for target in dict.fromkeys(int(target) for target in targets if target != NO_TIMESTAMP):
            self.sought = True
            try:
                self.container.seek(target, stream=self.stream)
            except av.FFmpegError:
                continue
            self._packets = self._demux()
            # The first packets after a seek may be incomplete (MPEG-TS); the first one that is known tells the
            # position.
            for packet in itertools.islice(self._packets, 32):
                number = self._number(packet)
                if number is not None:
                    self._pending, self.next = packet, number
                    break
            else:
                continue
            if self.next <= first:
                return True
        return False

    def _number(self, packet: av.Packet) -> int | None:
        pts = NO_TIMESTAMP if packet.pts is None else packet.pts
        dts = NO_TIMESTAMP if packet.dts is None else packet.dts
        match = (self.packets.pts == pts) & (self.packets.dts == dts) & (self.packets.size == packet.size)
        numbers = np.flatnonzero(match)
        return int(numbers[0]) if len(numbers) == 1 else None

    def frames(self, job: _Job) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yields (frame index, frame) for the wanted frames of a job, in ascending order."""
        expected = collections.deque(sorted(job.wanted.values()))
        held: dict[int, av.VideoFrame] = {}
        for index, frame in self._output(job):
            if not expected or index < expected[0]:
                continue  # came later than `_HELD_FRAMES` frames after it
            # Decoders output in order of presentation; where timestamps say otherwise, or a frame is lost, later
            # ones wait a little.
            held[index] = frame
            while expected and (expected[0] in held or len(held) > _HELD_FRAMES):
                index = expected.popleft()
                if index in held:
                    yield index, held.pop(index)
        yield from sorted(held.items())

    def _output(self, job: _Job) -> Iterator[tuple[int, av.VideoFrame]]:
        wanted = dict(job.wanted)
        while True:
            try:
                yield from self._frames(job, wanted)
                return
            except _LostPositionError:
                if not self.sought:
                    raise VideoError(f"{self.source.name}: does not match its packet table; was it changed?") from None
                self.give_up_seeking()

    def _frames(self, job: _Job, wanted: dict[int, int]) -> Iterator[tuple[int, av.VideoFrame]]:
        self.start(job.first)
        while self.next <= job.last and wanted:
            number = self.next
            packet = self._read()
            if packet is None:
                break
            # Packets that show nothing are never dropped: they may hold the second field of a frame.
            if number in wanted or self.packets.is_reference[number] or self.packets.frame[number] < 0:
                # The packet's number travels through the decoder in place of its timestamp, so that frames and
                # packets pair up even where timestamps are missing or repeated.
                packet.pts = packet.dts = number
                yield from self._pick(packet, wanted)
        if wanted:
            yield from self._pick(None, wanted)

    def _pick(self, packet: av.Packet | None, wanted: dict[int, int]) -> Iterator[tuple[int, av.VideoFrame]]:
        try:
            frames = self.decoder.decode(packet)
        except av.FFmpegError:  # a damaged packet, or the end twice: what else can be decoded is used
            return
        for frame in frames:
            index = wanted.pop(frame.pts, None)
            if index is not None:
                yield index, frame


def _decode_jobs(
    source: VideoSource, table: PacketTable, jobs: list[_Job], request: _Request
) -> Iterator[DecodedFrame]:
    converter = _Converter(source, request)
    with contextlib.closing(_Reader(source, table.packets, request.side_data)) as reader:
        for job in jobs:
            for index, frame in reader.frames(job):
                yield converter(index, frame)


class _Pool:
    """Workers that decode jobs ahead of the consumer. Each job has a buffer of limited length, and only the next few
    jobs may start, so memory is bounded; frames come out in the order of jobs, whichever worker is faster."""

    def __init__(self, source: VideoSource, table: PacketTable, jobs: list[_Job], request: _Request, num_threads: int):
        self.source, self.table, self.jobs, self.request = source, table, jobs, request
        self.window = num_threads + 1
        pixels = source.width * source.height
        out = 0 if not request.image else 3 * (pixels if request.size is None else request.size[0] * request.size[1])
        # A luma view keeps the whole decoded picture alive, two bytes a pixel and more with high bit depths.
        frame_bytes = out + 2 * pixels * request.luma + 2**16
        self.capacity = max(2, _BUFFER_BYTES // (self.window * frame_bytes))
        self.changed = threading.Condition()
        self.buffers: dict[int, collections.deque[DecodedFrame]] = {}
        self.finished: set[int] = set()
        self.started = self.head = 0
        self.error: BaseException | None = None
        self.stopped = False
        self.threads = [
            threading.Thread(target=self._work, name="decode_frames", daemon=True)
            for _ in range(min(num_threads, len(jobs)))
        ]

    def __iter__(self) -> Iterator[DecodedFrame]:
        for thread in self.threads:
            thread.start()
        try:
            while self.head < len(self.jobs):
                with self.changed:
                    self.changed.wait_for(
                        lambda: self.buffers.get(self.head) or self.head in self.finished or self.error
                    )
                    if self.error:
                        raise self.error
                    buffer = self.buffers.get(self.head)
                    frame = buffer.popleft() if buffer else None
                    if frame is None:
                        self.buffers.pop(self.head, None)
                        self.finished.discard(self.head)
                        self.head += 1
                    self.changed.notify_all()
                if frame is not None:
                    yield frame
        finally:
            with self.changed:
                self.stopped = True
                self.changed.notify_all()
            for thread in self.threads:
                thread.join()

    def _work(self) -> None:
        try:
            converter = _Converter(self.source, self.request)
            with contextlib.closing(_Reader(self.source, self.table.packets, self.request.side_data)) as reader:
                while (job := self._next_job()) is not None:
                    for index, frame in reader.frames(self.jobs[job]):
                        if not self._put(job, converter(index, frame)):
                            return
                    with self.changed:
                        self.finished.add(job)
                        self.changed.notify_all()
        except BaseException as error:  # handed to the consumer
            with self.changed:
                self.error = self.error or error
                self.changed.notify_all()

    def _next_job(self) -> int | None:
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or self.error or self.started < self.head + self.window)
            if self.stopped or self.error or self.started == len(self.jobs):
                return None
            self.started += 1
            self.buffers[self.started - 1] = collections.deque()
            return self.started - 1

    def _put(self, job: int, frame: DecodedFrame) -> bool:
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or self.error or len(self.buffers[job]) < self.capacity)
            if self.stopped or self.error:
                return False
            self.buffers[job].append(frame)
            self.changed.notify_all()
            return True


class _Converter:
    """Turns FFmpeg's frames into `DecodedFrame`s. One per thread."""

    def __init__(self, source: VideoSource, request: _Request):
        self.request = request
        self.turns = source.rotation // 90  # clockwise
        # Sizes in coded orientation, (width, height).
        self.native = self._coded(source.height, source.width)
        self.target = self.native if request.size is None else self._coded(*request.size)
        # One scaler for each conversion: a scaler sets itself up anew whenever its formats or sizes change.
        self.to_rgb, self.to_planar, self.resizer, self.to_luma = (VideoReformatter() for _ in range(4))

    def _coded(self, height: int, width: int) -> tuple[int, int]:
        return (height, width) if self.turns % 2 else (width, height)

    def __call__(self, index: int, frame: av.VideoFrame) -> DecodedFrame:
        request = self.request
        if frame.colorspace not in _COLORSPACES:
            frame.colorspace = 2  # a reserved or damaged tag: read as an untagged picture
        out = DecodedFrame(index, None, None, _PICTURE_TYPES.get(frame.pict_type, ""))
        if request.image:
            out.image = self._turn(self._image(frame))
        if request.luma:
            out.luma = self._turn(self._luma(frame))
        if request.side_data:
            # Not `frame.side_data`: PyAV (18.1) caches a container there that refers back to the frame, a cycle that
            # keeps every picture until the garbage collector runs. Can go when `Frame.side_data` no longer does.
            side_data = SideDataContainer(frame)
            vectors = side_data.get(SideDataType.MOTION_VECTORS)
            if vectors is not None and len(vectors):
                out.motion_vectors = self._turn_vectors(_motion_vectors(vectors), frame.width, frame.height)
            params = side_data.get(SideDataType.VIDEO_ENC_PARAMS)
            if params is not None:
                out.qp = self._turn(_qp_map(params, frame.width, frame.height))
        return out

    def from_array(self, index: int, array: np.ndarray) -> DecodedFrame:
        """A decoded frame of a source of frames."""
        out = DecodedFrame(index, None, None, "")
        array = np.ascontiguousarray(array)
        if self.request.image:
            out.image = array if self.request.size is None else self._image(av.VideoFrame.from_ndarray(array))
        if self.request.luma:
            out.luma = _luma_of_rgb(array)
        return out

    def _image(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = self.to_rgb.reformat(frame, format="rgb24", threads=1)
        if (rgb.width, rgb.height) == self.target:
            return rgb.to_ndarray()
        # libswscale resizes RGB by way of YUV, which is off by several steps. Posing as the planes of a 4:4:4
        # picture, each channel is resized by itself, right to the rounding.
        planar = self.to_planar.reformat(rgb, format="gbrp", threads=1)
        posing = av.VideoFrame(rgb.width, rgb.height, "yuv444p")
        for plane, channel in zip(posing.planes, planar.planes):
            plane.update(channel)
        width, height = self.target
        shrinks = width <= rgb.width and height <= rgb.height
        resized = self.resizer.reformat(
            posing, width, height, "yuv444p", interpolation=_AREA if shrinks else _BILINEAR, threads=1
        )
        out = np.empty((height, width, 3), np.uint8)
        for channel, plane in zip((1, 2, 0), resized.planes):
            out[..., channel] = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width]
        return out

    def _luma(self, frame: av.VideoFrame) -> np.ndarray:
        form = frame.format
        if form.is_rgb and (frame.width, frame.height) == self.native:
            return _luma_of_rgb(self.to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray())
        planar = form.components[0].is_luma and not form.has_palette and (form.is_planar or len(form.components) == 1)
        if not planar or form.is_big_endian or (frame.width, frame.height) != self.native:
            # Packed pictures, and those that change their size within the video.
            width, height = self.native
            frame = self.to_luma.reformat(frame, width, height, "yuv444p", interpolation=_BILINEAR, threads=1)
        bits = frame.format.components[0].bits
        dtype = np.dtype(np.uint8 if bits <= 8 else "<u2")
        plane = frame.planes[0]
        luma = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)[
            : frame.height, : frame.width
        ]
        return luma if bits <= 8 else (luma >> (bits - 8)).astype(np.uint8)

    def _turn(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(array, -self.turns)) if self.turns else array

    def _turn_vectors(self, vectors: np.ndarray, width: int, height: int) -> np.ndarray:
        for _ in range(self.turns):
            # A quarter turn clockwise takes (x, y) of a width x height picture to (height - y, x).
            turned = vectors.copy()
            turned["w"], turned["h"] = vectors["h"], vectors["w"]
            for prefix in ("src", "dst"):
                turned[f"{prefix}_x"] = height - vectors[f"{prefix}_y"]
                turned[f"{prefix}_y"] = vectors[f"{prefix}_x"]
            turned["motion_x"], turned["motion_y"] = -vectors["motion_y"], vectors["motion_x"]
            vectors, (width, height) = turned, (height, width)
        return vectors


def _luma_of_rgb(image: np.ndarray) -> np.ndarray:
    """BT.601 luma in full range, with weights in 1/256."""
    return (image @ np.array([77, 150, 29], np.uint16) >> 8).astype(np.uint8)


def _motion_vectors(side_data: av.sidedata.motionvectors.MotionVectors) -> np.ndarray:
    """Only the named fields: the padding of FFmpeg's struct is uninitialised memory, and its flags are unused."""
    raw = side_data.to_ndarray()
    vectors = np.empty(len(raw), MOTION_VECTOR_DTYPE)
    for name in MOTION_VECTOR_DTYPE.names:
        vectors[name] = raw[name]
    return vectors


def _qp_map(params: av.sidedata.encparams.VideoEncParams, width: int, height: int) -> np.ndarray:
    """Quantiser per macroblock, int32 `[ceil(height / 16), ceil(width / 16)]`; larger blocks fill all macroblocks
    they cover."""
    rows, columns = -(-height // 16), -(-width // 16)
    qp = np.full((rows, columns), params.qp, np.int32)
    if not params.nb_blocks:  # VP9 without segments: one quantiser for the whole picture
        return qp
    fields = {"names": ["x", "y", "w", "h", "delta"], "formats": ["<i4"] * 5, "offsets": [0, 4, 8, 12, 16]}
    dtype = np.dtype({**fields, "itemsize": params.block_size})
    blocks = np.frombuffer(params, dtype, count=params.nb_blocks, offset=params.blocks_offset)
    values = params.qp + blocks["delta"]
    # One pass per macroblock offset inside the largest block: four at most a side (64x64).
    for dy in range(0, int(blocks["h"].max()), 16):
        for dx in range(0, int(blocks["w"].max()), 16):
            covers = (blocks["h"] > dy) & (blocks["w"] > dx)
            y, x = (blocks["y"][covers] + dy) // 16, (blocks["x"][covers] + dx) // 16
            inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            qp[y[inside], x[inside]] = values[covers][inside]
    return qp
