# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Threads that work while the caller reads on, and a clock for the steps that they share."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


# Threads of a call unless more are asked for. Decoding takes about three times as long as scoring at most, so that
# more of them would wait for the caller's.
MAX_THREADS = 4

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Threads of a call unless it says how many."""
    return min(MAX_THREADS, available_cores())


def give_back_memory() -> None:
    """Has the C library give what was freed back to the system, where it can (glibc): it would keep most of it, in the
    holes between what is still in use."""
    if _malloc_trim is not None:
        _malloc_trim(0)


class Workers:
    """
    Does work in threads, a context manager. No more than one call for each thread waits: what comes on top is done in
    the caller's thread, so that what waits is bounded, and so is all with a single thread.

    Args:
        num_threads (`int`): how many threads.
    """

    def __init__(self, num_threads: int):
        self._pool = ThreadPoolExecutor(num_threads, "codec") if num_threads > 1 else None
        self._free = threading.Semaphore(2 * num_threads)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable, *args: Any) -> Future:
        """Has `function(*args)` done, now or later; the future gives its result or raises its error."""
        if self._pool is not None and self._free.acquire(blocking=False):
            future = self._pool.submit(function, *args)
            future.add_done_callback(lambda _: self._free.release())
            return future
        future = Future()
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)
        return future


class Clock:
    """Seconds spent per step since they were last taken, over all threads."""

    def __init__(self):
        self._seconds = dict.fromkeys(("demux", "decode", "score", "select", "pack"), 0.0)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[step] += time.perf_counter() - start

    def iterate(self, step: str, iterator: Iterator) -> Iterator:
        """The items of `iterator`, counting the time that each takes to come."""
        while True:
            with self(step):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def take(self) -> dict[str, float]:
        with self._lock:
            taken, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
        return taken
