# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The child process of [`~transformers_ov2.codec.isolation.IsolatedVideo`]."""

from __future__ import annotations

import dataclasses
import functools
import os
import resource
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .channel import OUT_OF_MEMORY, Channel
from .config import CodecStreamConfig
from .deciding.budget import timestamp_text_tokens
from .reading.decoding import decode_frames
from .reading.packets import read_packets
from .reading.source import VideoError, VideoSource, open_source
from .tokenizer import iter_groups


WATCH_SECONDS = 0.01


def main():
    """Answers the requests on standard input until it ends."""
    # What a library prints must not mix with the messages.
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    channel = Channel(sys.stdin.buffer, outgoing, sys.maxsize)
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *rest: channel.send({"warning": str(message)})
    try:
        request = channel.receive()
        exceeded = limit_resources(request.pop("memory_bytes"), request.pop("cpu_seconds"))
        name = request["name"]
        try:
            serve(channel, request)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:
            if exceeded():
                os._exit(OUT_OF_MEMORY)
            kind = type(error).__name__
            known = type(error) in (VideoError, ValueError, ImportError, ModuleNotFoundError)
            message = str(error) if known else f"{name}: reading failed with {kind}: {error}"
            channel.send({"error": kind, "message": message})
    except (EOFError, BrokenPipeError):
        pass
    # Not by way of destructors, which may wait for threads.
    os._exit(0)


def limit_resources(memory_bytes: int, cpu_seconds: float) -> Callable[[], bool]:
    """
    Limits memory, beyond what the idle process takes, and processor time; the latter ends children whose parents are
    gone.

    Decoders take a failed allocation for damaged data and go on. So a thread watches the greatest memory that was in
    use and ends the process; what it cannot see in time, the kernel refuses at twice the limit.

    Returns:
        Says whether more was in use, or is allocated, than may be: then an error may be a refused allocation.
    """
    data, most = _status("VmData"), _status("VmHWM") + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (data + 2 * memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_watch, args=(most,), daemon=True).start()
    return lambda: _status("VmHWM") > most or _status("VmData") > data + memory_bytes


def _watch(most: int):
    while _status("VmHWM") <= most:
        time.sleep(WATCH_SECONDS)
    os._exit(OUT_OF_MEMORY)


def _status(name: str) -> int:
    """A figure of this process, bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


def serve(channel: Channel, request: dict[str, Any]):
    source = open_source(
        request["data"].tobytes() if request["path"] is None else Path(request["path"]),
        max_source_pixels=request["max_source_pixels"],
        max_source_frames=request["max_source_frames"],
        name=request["name"],
    )
    del request
    channel.send(describe(source))
    while True:
        request = channel.receive()
        if request["task"] == "tokenize":
            ask = functools.cache(lambda seconds: _ask_tokens(channel, seconds))
            for stream in iter_groups(
                source,
                CodecStreamConfig.from_dict(request["config"]),
                timestamp_tokens=ask if request["asks_tokens"] else timestamp_text_tokens,
                return_evidence=request["return_evidence"],
            ):
                channel.send({"stream": stream})
        elif request["task"] == "table":
            table = read_packets(source)
            values = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
            channel.send({"table": {**values, "packets": None}})
            continue
        else:
            for frame in decode_frames(source, table, request["indices"], num_threads=request["num_threads"]):
                channel.send({"index": frame.index, "image": frame.image})
        channel.send({"end": True})


def describe(source: VideoSource) -> dict[str, Any]:
    values = {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    for name in ("time_base", "average_rate"):
        values[name] = None if values[name] is None else values[name].as_integer_ratio()
    for name in ("path", "data", "frames", "orientation", "isolation"):
        del values[name]
    return values


def _ask_tokens(channel: Channel, seconds: float) -> int:
    channel.send({"seconds": seconds})
    return channel.receive()["tokens"]
