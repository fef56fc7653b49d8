# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Tell what is installed, what is missing, and how to get it.

Versions of the packages, the codecs that FFmpeg brings, one clip tokenized for real, GPUs. Fails when something is
missing that every use needs; extras are listed with the command that installs them.

examples:
  transformers-ov2 doctor
  transformers-ov2 doctor --json
"""

import argparse
import importlib.metadata
import io
import json
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from .options import describe_signals


PACKAGE = "transformers-ov2"
CODECS = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "mjpeg", "prores")
OK, MISSING, OPTIONAL = "ok", "missing", "optional"


@dataclass
class Check:
    """
    One line of the report.

    Attributes:
        name (`str`): what was looked at.
        status (`str`): `"ok"`, `"missing"` (nothing works without it) or `"optional"` (not there, and not needed).
        found (`str`): version or description.
        advice (`str`): how to get it.
    """

    name: str
    status: str
    found: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    checks = [*_python(), *_packages(), *_codecs(), *_devices()]
    healthy = all(check.status != MISSING for check in checks)
    if args.json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}))
        return 0 if healthy else 1
    width = max(len(check.name) for check in checks)
    for check in checks:
        advice = f"  ->  {check.advice}" if check.advice else ""
        print(f"{check.status:<9} {check.name:<{width}}  {check.found}{advice}")
    if not healthy:
        missing = ", ".join(check.name for check in checks if check.status == MISSING)
        print(f"{PACKAGE} doctor: missing: {missing}", file=sys.stderr)
    return 0 if healthy else 1


def _python() -> Iterator[Check]:
    yield Check("python", OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Check]:
    """The requirements of the package and of its extras, as its own metadata states them."""
    from .. import __version__

    try:
        requirements = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            PACKAGE,
            OPTIONAL,
            f"{__version__} is imported, but not installed: the versions that it requires are not checked",
            "pip install .",
        )
        return
    yield Check(PACKAGE, OK, __version__)

    from packaging.requirements import Requirement

    parsed = [Requirement(text) for text in requirements]
    for requirement in parsed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found, fits = _installed(requirement)
            advice = "" if fits else f'pip install "{requirement.name}{requirement.specifier}"'
            yield Check(requirement.name, OK if fits else MISSING, found, advice)
    extras = dict.fromkeys(name for text in requirements for name in re.findall(r"""extra == ["']([\w-]+)""", text))
    for extra in extras:
        if extra in ("dev", "test"):
            continue
        for requirement in parsed:
            if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
                found, fits = _installed(requirement)
                advice = "" if fits else f'pip install "{PACKAGE}[{extra}]"'
                yield Check(f"{extra}: {requirement.name}", OK if fits else OPTIONAL, found, advice)


def _installed(requirement) -> tuple[str, bool]:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed", False
    if requirement.specifier.contains(version, prereleases=True):
        return version, True
    return f"{version}, needed is {requirement.specifier}", False


def _codecs() -> Iterator[Check]:
    """Decoders of FFmpeg, and a clip of a moving square, encoded here, through the tokenizer."""
    try:
        import av
    except ImportError as error:
        yield Check("FFmpeg", MISSING, f"PyAV does not load ({error})", "pip install --force-reinstall av")
        return
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    yield Check("FFmpeg", OK, f"libavcodec {version}, in PyAV {av.__version__}")
    there = [name for name in CODECS if _has_decoder(av, name)]
    lacking = sorted(set(CODECS) - set(there))
    yield Check("decoders", OK, ", ".join(there))
    if lacking:
        yield Check(
            "other decoders", OPTIONAL, f"not in this FFmpeg: {', '.join(lacking)}", "the wheels of PyAV have them"
        )
    try:
        from ..codec import tokenize_video

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stream = tokenize_video(_clip(av), target_canvas=4, max_pixels=112 * 112)
    # Whatever goes wrong here is what the report is for.
    except Exception as error:
        yield Check("codec stream", MISSING, f"{type(error).__name__}: {' '.join(str(error).split())}")
        return
    yield Check(
        "codec stream",
        OK,
        f"{len(stream.canvases)} canvases of a test clip by {describe_signals(stream.signal_shares)}",
    )


def _has_decoder(av, name: str) -> bool:
    try:
        av.Codec(name, "r")
    except (ValueError, av.FFmpegError):
        return False
    return True


def _clip(av) -> bytes:
    import numpy as np

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 112
        stream.pix_fmt = "yuv420p"
        for index in range(16):
            image = np.full((112, 112, 3), 90, np.uint8)
            image[40:64, 4 * index : 4 * index + 24] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _devices() -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("device", MISSING, f"torch does not load ({' '.join(str(error).split())})", "pip install torch")
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            bfloat16 = "bfloat16" if device.major >= 8 else "no bfloat16"
            yield Check(f"GPU {index}", OK, f"{device.name}, {device.total_memory / 2**30:.0f} GiB, {bfloat16}")
        try:
            yield Check("flash-attn", OK, importlib.metadata.version("flash-attn"))
        except importlib.metadata.PackageNotFoundError:
            yield Check("flash-attn", OPTIONAL, "not installed, sdpa is used", "pip install flash-attn")
    elif torch.backends.mps.is_available():
        yield Check("GPU", OK, "Apple MPS")
    else:
        build = "a CPU build" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}"
        advice = "https://pytorch.org/get-started/locally" if torch.version.cuda is None else "check the driver"
        yield Check("GPU", OPTIONAL, f"none: models run on the CPU (torch is {build})", advice)
