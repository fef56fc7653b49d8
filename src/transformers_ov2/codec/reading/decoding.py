# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
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
from typing import Any

import av
import numpy as np

from .conversion import DecodedFrame, DecodeRequest, FrameConverter
from .packets import NO_TIMESTAMP, PacketSequence, PacketTable
from .source import VideoError, VideoSource


# Decoded frames that may wait for the consumer, in bytes, over all workers of a call.
_BUFFER_BYTES = 2**26
# Pictures that decoders may hold, in bytes, over all workers of a call; one worker there is always. A decoder keeps
# its references and the picture at work: `_HELD_PICTURES`, with the usual settings of encoders.
_DECODER_BYTES = 3 * 2**25
_HELD_PICTURES = 5
# A gap up to this many bytes is read through rather than sought over.
_SKIP_BYTES = 2**20
# Ranges that touch are joined up to this many packets: each range drains the decoder once.
_MIN_JOB_PACKETS = 16
# Frames that wait before a decoding thread takes their conversion from the caller's.
_READY_FRAMES = 8
# Frames kept back to bring output into the order of timestamps that contradict it.
_HELD_FRAMES = 16


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
    side_data: bool = False,
    num_threads: int = 1,
) -> Iterator[DecodedFrame]:
    """Decodes the frames at `indices`, in ascending order, each once.

    Only the groups of pictures that hold a wanted frame are read, from their key frame to the last packet needed;
    non-reference pictures that nobody wants never reach the decoder. Frames are bit-equal to those of a plain
    sequential decode, for any `num_threads`. Memory holds a few frames per thread, whatever the length of the video.

    With a `size`, pictures are resized by area interpolation where both sides shrink, by bilinear interpolation
    otherwise. Planar ones stay YUV: each plane is resized alone, from its own resolution and depth.

    Args:
        source (`VideoSource`), table (`PacketTable`): a source and its own packet table.
        indices (int `[num_wanted]`): presentation indices into `table`; order and repetitions do not matter.
        size (`tuple[int, int]`, *optional*): height and width of the pictures in display orientation. That of the
            source when not given: then square pixels are equal to PyAV's in RGB.
        side_data (`bool`): export motion vectors and steps of the quantiser.
        num_threads (`int`): GOP ranges decoded in parallel, fewer where pictures are large (4K: one); with 1
            everything runs in the caller's thread, and so it does where a few pictures of `size` take 64 MiB.

    Yields:
        [`DecodedFrame`]

    Raises:
        VideoError: the source cannot be opened any more.
        IndexError: an index is out of range.
        ValueError: a bad `size` or `num_threads`.

    Warns:
        UserWarning: frames could not be decoded (damaged or truncated file); those are left out.
    """
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size must be a height and a width in pixels, got {size}.")
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}.")
    indices = np.unique(np.asarray(indices, dtype=np.int64))
    if len(indices) and not 0 <= indices[0] <= indices[-1] < table.num_frames:
        raise IndexError(
            f"{source.name}: indices must lie in [0, {table.num_frames}), got {indices[0]} to {indices[-1]}."
        )
    request = DecodeRequest(None if size is None else (int(size[0]), int(size[1])), side_data)
    return _decode(source, table, indices, request, num_threads)


def _decode(
    source: VideoSource, table: PacketTable, indices: np.ndarray, request: DecodeRequest, num_threads: int
) -> Iterator[DecodedFrame]:
    if source.codec == "frames":
        converter = FrameConverter(source, request)
        for index in indices.tolist():
            yield converter.from_array(index, source.frame(index))
        return
    jobs = _plan(table, indices)
    num_workers = min(num_threads, max(1, _DECODER_BYTES // (_HELD_PICTURES * _picture_bytes(source))))
    # A single one has a thread of its own as well, so that the caller works on frames while others are decoded, unless
    # pictures are so large that none should wait.
    height, width = request.size or (source.height, source.width)
    waits = num_workers > 1 or _READY_FRAMES * 3 * height * width <= _BUFFER_BYTES
    frames = (
        _Pool(source, table, jobs, request, num_workers)
        if num_threads > 1 and len(indices) > 1 and waits
        else _decode_jobs(source, table, jobs, request)
    )
    found = []
    for index, frame in frames:
        found.append(index)
        yield frame
    lost = len(indices) - len(found)
    # A packet at the very end may hold no picture, and is no sign of damage.
    if lost > 1 or (lost and (indices[-1] < table.num_frames - 1 or found[-1:] == [indices[-1]])):
        warnings.warn(
            f"{source.name}: {lost} of {len(indices)} frames could not be decoded (damaged or truncated file).",
            stacklevel=3,
        )


def _picture_bytes(source: VideoSource) -> int:
    """Bytes of a decoded picture."""
    height, width = source.coded_size
    planes = av.VideoFormat(source.pix_fmt, width, height).components
    return sum(plane.width * plane.height * -(-plane.bits // 8) for plane in planes)


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
        # The generator refers back here: the decoder and its pictures would wait for the garbage collector.
        self._packets = self._pending = self.container = self.stream = self.decoder = None

    def _open(self) -> None:
        self._stack.close()
        self.container, self.stream = self._stack.enter_context(self.source.open(side_data=self.side_data))
        self.decoder = self.stream.codec_context
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
            # Nobody keeps a frame while the next one is decoded, or the decoder would need room for one picture more.
            del frame
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
        except MemoryError as error:
            raise VideoError(f"{self.source.name}: there is not enough memory to decode it.") from error
        except av.FFmpegError:  # a damaged packet, or the end twice: what else can be decoded is used
            return
        for frame in frames:
            index = wanted.pop(frame.pts, None)
            if index is not None:
                yield index, frame


def _decode_jobs(
    source: VideoSource, table: PacketTable, jobs: list[_Job], request: DecodeRequest
) -> Iterator[tuple[int, DecodedFrame]]:
    converter = FrameConverter(source, request)
    with contextlib.closing(_Reader(source, table.packets, request.side_data)) as reader:
        for job in jobs:
            for index, frame in reader.frames(job):
                frame = converter(index, frame)
                yield index, frame


class _Pool:
    """Workers that decode jobs ahead of the consumer. Each job has a buffer of limited length, and only the next few
    jobs may start, so memory is bounded; frames come out in the order of jobs, whichever worker is faster."""

    def __init__(
        self, source: VideoSource, table: PacketTable, jobs: list[_Job], request: DecodeRequest, num_threads: int
    ):
        self.source, self.table, self.jobs, self.request = source, table, jobs, request
        self.window = num_threads + 1
        num_workers = min(num_threads, len(jobs))
        # With fewer jobs than threads, the caller's thread converts what it does not have to wait for: decoding one
        # range is only as fast as one thread.
        self.converter = FrameConverter(source, request) if num_workers < num_threads else None
        height, width = (source.height, source.width) if self.converter or request.size is None else request.size
        # Two bytes a pixel for most decoded pictures, three for converted ones, and their vectors.
        frame_bytes = (2 if self.converter else 3) * height * width + 2**16
        self.capacity = max(2, _BUFFER_BYTES // (min(self.window, len(jobs)) * frame_bytes))
        self.changed = threading.Condition()
        # By job: whether it is ready, the index of a frame, and the frame or what `converter` makes it of.
        self.buffers: dict[int, collections.deque[tuple[bool, int, Any]]] = {}
        self.finished: set[int] = set()
        self.started = self.head = 0
        self.error: BaseException | None = None
        self.stopped = False
        self.threads = [
            threading.Thread(target=self._work, name="decode_frames", daemon=True) for _ in range(num_workers)
        ]

    def __iter__(self) -> Iterator[tuple[int, DecodedFrame]]:
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
                    item = buffer.popleft() if buffer else None
                    if item is None:
                        self.buffers.pop(self.head, None)
                        self.finished.discard(self.head)
                        self.head += 1
                    self.changed.notify_all()
                if item is not None:
                    ready, index, frame = item
                    yield index, frame if ready else self.converter(index, frame)
        finally:
            with self.changed:
                self.stopped = True
                self.changed.notify_all()
            for thread in self.threads:
                thread.join()

    def _work(self) -> None:
        try:
            converter = FrameConverter(self.source, self.request)
            with contextlib.closing(_Reader(self.source, self.table.packets, self.request.side_data)) as reader:
                while (job := self._next_job()) is not None:
                    for index, frame in reader.frames(self.jobs[job]):
                        # The caller is busy where frames wait for it.
                        ready = self.converter is None or len(self.buffers[job]) >= _READY_FRAMES
                        if not self._put(job, (ready, index, converter(index, frame) if ready else frame)):
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

    def _put(self, job: int, item: tuple[bool, int, Any]) -> bool:
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or self.error or len(self.buffers[job]) < self.capacity)
            if self.stopped or self.error:
                return False
            self.buffers[job].append(item)
            self.changed.notify_all()
            return True
