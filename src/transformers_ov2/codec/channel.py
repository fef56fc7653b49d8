# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Messages between a process and the child that reads a video for it: JSON and the bytes of arrays, never pickles, so
that nothing that a child sends can run in its parent."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import fields, is_dataclass
from typing import Any, BinaryIO

import numpy as np


MAX_HEADER_BYTES = 2**28
# Exit status of a child that took more memory than it may.
OUT_OF_MEMORY = 86


class Channel:
    """
    Sends and receives messages: dicts of plain values, lists, arrays, bytes and dataclasses, which arrive as dicts.

    Args:
        incoming (`BinaryIO`), outgoing (`BinaryIO`): ends of two pipes.
        max_bytes (`int`): most bytes that a message may hold.
    """

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO, max_bytes: int):
        self._incoming, self._outgoing, self._max_bytes = incoming, outgoing, max_bytes
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]):
        """
        Raises:
            OSError: the other side is gone.
        """
        arrays: list[np.ndarray] = []
        tree = json.dumps(_flatten(message, arrays)).encode()
        shapes = json.dumps([[array.dtype.str, array.shape] for array in arrays]).encode()
        with self._lock:
            for header in (tree, shapes):
                self._outgoing.write(len(header).to_bytes(8, "little") + header)
            for array in arrays:
                self._outgoing.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            self._outgoing.flush()

    def receive(self) -> dict[str, Any]:
        """
        Raises:
            EOFError: the other side is gone.
            ValueError: what arrives is no message, or larger than allowed.
        """
        tree, shapes = (json.loads(self._header()) for _ in range(2))
        specifications = [(np.dtype(str(name)), tuple(map(int, shape))) for name, shape in shapes]
        total = sum(dtype.itemsize * math.prod(shape) for dtype, shape in specifications)
        if total > self._max_bytes or any(
            dtype.kind not in "biufU" or dtype.itemsize == 0 or min(shape, default=0) < 0
            for dtype, shape in specifications
        ):
            raise ValueError("an array is not acceptable")
        return _rebuild(tree, [self._array(*specification) for specification in specifications])

    def _header(self) -> bytes:
        length = int.from_bytes(self._exactly(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError("a header is too long")
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        data = self._incoming.read(length)
        if len(data) < length:
            raise EOFError
        return data

    def _array(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, dtype)
        rest = memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")
        while rest:
            if not (count := self._incoming.readinto(rest)):
                raise EOFError
            rest = rest[count:]
        return array


def _flatten(value: Any, arrays: list[np.ndarray]) -> Any:
    """A value as JSON takes it; arrays go to a list and are named by their place in it."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, bytes):
        value = np.frombuffer(value, np.uint8)
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"": len(arrays) - 1}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _flatten(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_flatten(item, arrays) for item in value]
    return value


def _rebuild(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, dict):
        return arrays[value[""]] if "" in value else {key: _rebuild(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_rebuild(item, arrays) for item in value]
    return value
