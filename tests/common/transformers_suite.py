# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
transformers' own common test suites, as an importable package.

They are part of the source distribution of transformers and of nothing that is installed, so the sdist of the
installed version is fetched from the package index once and unpacked into the user's cache. Its test modules import
each other relatively, which lets them live under a name of our own (`transformers_suite_tests`) beside this
repository's `tests`. A few files that they import are missing from the sdist and are written here.
"""

import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import PIL.Image
import pytest
import transformers


PACKAGE = "transformers_suite_tests"
ROOT = (
    Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    / "transformers_ov2"
    / f"transformers-{transformers.__version__}"
)
MEDIA = ROOT / "media"
# What the sdist lacks. Generation and export have suites of their own upstream, which are not distributed at all.
MISSING_FILES = {
    f"{PACKAGE}/__init__.py": "",
    f"{PACKAGE}/exporters/__init__.py": "",
    f"{PACKAGE}/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    f"{PACKAGE}/generation/__init__.py": "",
    f"{PACKAGE}/generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    f"{PACKAGE}/utils/__init__.py": "",
    # Values that differ from every default, to see that a config keeps what it is given.
    f"{PACKAGE}/utils/test_configuration_utils.py": (
        "config_common_kwargs = {\n"
        "    'return_dict': False,\n"
        "    'output_hidden_states': True,\n"
        "    'output_attentions': True,\n"
        "    'dtype': 'float16',\n"
        "    'chunk_size_feed_forward': 5,\n"
        "    'architectures': ['BertModel'],\n"
        "    'id2label': {0: 'label'},\n"
        "    'label2id': {'label': 0},\n"
        "    'problem_type': 'regression',\n"
        "}\n"
    ),
    # Upstream maps the URL of a test file to its copy in a local cache; here every URL has a synthesised stand-in.
    "utils/fetch_hub_objects_for_ci.py": (
        "from pathlib import Path\n"
        "\n"
        "\n"
        "def url_to_local_path(url):\n"
        "    path = Path(__file__).parents[1] / 'media' / url.rsplit('/', 1)[-1]\n"
        "    return str(path) if path.exists() else url\n"
    ),
}
IMAGES = {"coco_sample.png": (640, 426), "australia.jpg": (1000, 667)}
# (frames, frames per second), all of 320 x 240 pixels
VIDEOS = {
    "big_buck_bunny_320x240_10s.mp4": (300, 30),
    "sample_demo_1_320x240.mp4": (150, 30),
    "tiny_video_320x240.mp4": (11, 30),
}


def suite_module(name: str) -> ModuleType:
    """
    Import one module of transformers' test suites, for instance `"test_modeling_common"`.

    Skips the calling test module, with the reason, when the suites cannot be had.
    """
    pytest.importorskip("parameterized", reason="transformers' test suites need `parameterized`")
    if not ROOT.exists():
        _build()
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"{PACKAGE}.{name}")


def _build():
    ROOT.parent.mkdir(parents=True, exist_ok=True)
    # Beside the destination, so that moving it there is atomic: several test processes may build at once.
    with tempfile.TemporaryDirectory(dir=ROOT.parent) as scratch:
        scratch = Path(scratch)
        root = scratch / "root"
        _unpack_tests(_download_sdist(scratch), root)
        for name, text in MISSING_FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        _make_media(root / "media")
        try:
            root.rename(ROOT)
        except OSError:
            if not ROOT.exists():
                raise


def _download_sdist(folder: Path) -> Path:
    requirement = f"transformers=={transformers.__version__}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=transformers", "--quiet"]
    try:
        result = subprocess.run(
            [*command, "--disable-pip-version-check", "--retries=1", "--dest", folder, requirement],
            capture_output=True,
            text=True,
            timeout=300,
        )
        error = result.stderr.strip().rpartition("\n")[2] if result.returncode else None
    except subprocess.TimeoutExpired as timeout:
        error = str(timeout)
    if error is not None:
        pytest.skip(f"the source distribution of {requirement} cannot be downloaded: {error}", allow_module_level=True)
    return next(folder.glob("transformers-*.tar.gz"))


def _unpack_tests(sdist: Path, root: Path):
    with tarfile.open(sdist) as archive:
        members = [member for member in archive if Path(member.name).parts[1:2] == ("tests",)]
        archive.extractall(root, members, filter="data")
    (top,) = root.iterdir()
    shutil.move(top / "tests", root / PACKAGE)
    top.rmdir()


def _make_media(folder: Path):
    folder.mkdir()
    for name, (width, height) in IMAGES.items():
        PIL.Image.fromarray(_frame(0, width, height)).save(folder / name)
    for name, (num_frames, fps) in VIDEOS.items():
        with av.open(folder / name, "w") as container:
            stream = container.add_stream("mpeg4", rate=Fraction(fps), width=320, height=240, pix_fmt="yuv420p")
            for index in range(num_frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(_frame(index, 320, 240))))
            container.mux(stream.encode())


def _frame(index: int, width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([(x + 4 * index) % 256, (y + 2 * index) % 256, (x + y) % 256], axis=-1).astype(np.uint8)
