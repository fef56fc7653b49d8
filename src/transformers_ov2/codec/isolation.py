# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Videos that nobody vouches for, read in a child process: a crash, a hang or a bomb ends there.

The child is a fresh interpreter with PyAV and numpy alone, one for each video. Its parent limits the time that it
waits for it, the child the memory in use, and the kernel what it may allocate (`RLIMIT_DATA`, twice the limit). It is
no sandbox: the child may do what its user may do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

from .channel import OUT_OF_MEMORY, Channel
from .config import CodecStreamConfig
from .deciding.budget import timestamp_text_tokens
from .deciding.fusion import Evidence
from .packing.canvas import CodecStream
from .reading.decoding import decode_frames
from .reading.packets import PacketTable, read_packets
from .reading.source import VideoError, VideoSource


# What a child may raise in its parent; everything else is a `VideoError` there.
_ERRORS = {"ValueError": ValueError, "ImportError": ImportError, "ModuleNotFoundError": ImportError}
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from transformers_ov2.codec.isolated import main; main()"
)


class IsolatedVideo:
    """
    A child process that reads one video: `with IsolatedVideo(source) as video`.

    Args:
        source (`VideoSource`): a source with `isolation`.

    Raises:
        VideoError: the video cannot be read, its child dies or exceeds a limit.
        OSError: the system is not Linux, which alone enforces a limit on memory.
    """

    def __init__(self, source: VideoSource):
        if not sys.platform.startswith("linux"):
            raise OSError("`isolate` needs Linux: other systems do not limit the memory of a process.")
        self.source = source
        self._seconds_left = source.isolation.seconds
        self._late = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._end = weakref.finalize(self, _end, self._child, self._errors)
        self._channel = Channel(self._child.stdout, self._child.stdin, source.isolation.memory_bytes)
        try:
            self.info = self._ask(
                task="open",
                name=source.name,
                path=source.path,
                data=source.data,
                max_source_pixels=source.max_source_pixels,
                max_source_frames=source.max_source_frames,
                memory_bytes=source.isolation.memory_bytes,
                cpu_seconds=source.isolation.seconds * (os.cpu_count() or 1),
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> IsolatedVideo:
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Ends the child."""
        self._end()

    def groups(
        self, config: CodecStreamConfig, timestamp_tokens: Callable[[float], int], return_evidence: bool
    ) -> Iterator[CodecStream]:
        """The groups of [`iter_groups`], made by the child."""
        own = timestamp_tokens is not timestamp_text_tokens
        answer = self._ask(task="tokenize", config=config.to_dict(), asks_tokens=own, return_evidence=return_evidence)
        while answer is not None:
            if "seconds" in answer:
                answer = self._ask(tokens=int(timestamp_tokens(answer["seconds"])))
                continue
            stream = answer["stream"]
            evidence = stream.pop("evidence")
            yield CodecStream(**stream, evidence=None if evidence is None else Evidence(**evidence))
            answer = self._ask()

    def table(self) -> PacketTable:
        """What [`read_packets`] gives, without the packets themselves."""
        return PacketTable(**self._ask(task="table")["table"])

    def described(self) -> VideoSource:
        """The source with what probing tells of it."""
        found = {name: value for name, value in self.info.items() if name in _DESCRIPTION}
        for name in ("time_base", "average_rate"):
            found[name] = None if found[name] is None else Fraction(*found[name])
        return dataclasses.replace(self.source, **found)

    def images(self, indices: Sequence[int] | np.ndarray, num_threads: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """(index, RGB pixels) of the frames that [`decode_frames`] gives."""
        answer = self._ask(task="decode", indices=np.asarray(indices, np.int64), num_threads=num_threads)
        while answer is not None:
            yield answer["index"], answer["image"]
            answer = self._ask()

    def _ask(self, **request: Any) -> dict[str, Any] | None:
        """Sends a request, if any, and waits for what comes next: None at the end of a task."""
        start = time.monotonic()
        timer = threading.Timer(max(self._seconds_left, 1e-3), self._end_late_child)
        timer.daemon = True
        timer.start()
        try:
            if request:
                self._channel.send(request)
            while "warning" in (answer := self._channel.receive()):
                warnings.warn(str(answer["warning"]), stacklevel=2)
            if time.monotonic() - start > self._seconds_left:  # on a busy machine before the timer had its turn
                self._late = True
                raise TimeoutError
        except (OSError, EOFError, ValueError) as error:
            raise VideoError(f"{self.source.name}: {self._diagnosis(error)}.") from error
        finally:
            timer.cancel()
            self._seconds_left -= time.monotonic() - start
        if not isinstance(answer, dict):
            raise VideoError(f"{self.source.name}: its process sent what is no message.")
        if "error" in answer:
            raise _ERRORS.get(answer["error"], VideoError)(str(answer["message"]))
        return None if answer.get("end") else answer

    def _end_late_child(self):
        self._late = True
        self._child.kill()

    def _diagnosis(self, error: Exception) -> str:
        limits = self.source.isolation
        if self._late:
            return f"reading took longer than {limits.seconds:g} seconds, the limit of its isolation"
        if isinstance(error, ValueError):
            return f"its process sent what is no message ({error})"
        status = self._child.wait()  # its end of the pipes is closed, so it is about to end
        if status == OUT_OF_MEMORY:
            return f"reading took more than {limits.memory_bytes >> 20} MiB of memory, the limit of its isolation"
        self._errors.seek(0)
        last = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
        return f"its process died with status {status}" + (f" ({last[0]})" if last else "")


def _end(child: subprocess.Popen, errors: BinaryIO):
    child.kill()
    child.wait()
    for file in (child.stdin, child.stdout, errors):
        with contextlib.suppress(OSError):
            file.close()


# Fields of a source that its child tells.
_DESCRIPTION = {
    *("codec", "width", "height", "coded_size", "time_base", "average_rate", "pix_fmt", "interlaced"),
    *("has_b_frames", "num_frames_hint"),
}


def isolated_groups(
    source: VideoSource,
    config: CodecStreamConfig,
    timestamp_tokens: Callable[[float], int],
    return_evidence: bool,
) -> Iterator[CodecStream]:
    """[`iter_groups`] in a child process, which is started, and has opened the source, when this returns."""
    video = IsolatedVideo(source)

    def groups() -> Iterator[CodecStream]:
        with video:
            yield from video.groups(config, timestamp_tokens, return_evidence)

    return groups()


@dataclasses.dataclass
class FrameReader:
    """
    A video of which frames can be chosen by its packets, and then read.

    Attributes:
        source (`VideoSource`): the probed video.
        table (`PacketTable`): its packets.
        images (`Callable`): `images(indices, num_threads)` gives (index, RGB pixels) of the frames in ascending order,
            as [`decode_frames`] does.
    """

    source: VideoSource
    table: PacketTable
    images: Callable[[Sequence[int] | np.ndarray, int], Iterator[tuple[int, np.ndarray]]]


@contextlib.contextmanager
def open_frames(source: VideoSource) -> Iterator[FrameReader]:
    """The frames of a video, read in a child process if its source says so: `with open_frames(source) as reader`."""
    if source.isolation is not None:
        with IsolatedVideo(source) as video:
            yield FrameReader(video.described(), video.table(), video.images)
    else:
        table = read_packets(source)

        def images(indices, num_threads):
            for frame in decode_frames(source, table, indices, num_threads=num_threads):
                yield frame.index, frame.image

        yield FrameReader(source, table, images)
