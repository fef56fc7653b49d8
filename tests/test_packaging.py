# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Wheel and sdist: what they hold, and that what is installed from them runs. Dependencies come from the environment
of the tests."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import transformers_ov2


ROOT = Path(__file__).parents[1]
SOURCES = ("CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py", "src")
VERSION = transformers_ov2.__version__

pytest.importorskip("build")
pytest.importorskip("twine")


def call(*command, **environment) -> str:
    process = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """An sdist, and the wheel built from it. The checkout stays as it is."""
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copyfile(ROOT / name, folder / name)
    call("build", "--no-isolation", "--outdir", folder / "dist", folder)
    return folder / "dist"


def test_names_and_descriptions(dist):
    assert sorted(path.name for path in dist.iterdir()) == [
        f"transformers_ov2-{VERSION}-py3-none-any.whl",
        f"transformers_ov2-{VERSION}.tar.gz",
    ]
    assert call("twine", "check", "--strict", *dist.iterdir()).count("PASSED") == 2


def test_wheel_holds_the_package_and_nothing_else(dist):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "transformers_ov2").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == wanted


def test_sdist_holds_what_it_is_built_from(dist):
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert set(SOURCES) <= held
    assert not [name for name in held if name.startswith(("tests", "examples", "build"))]


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_installed_package_runs(dist, tmp_path, kind):
    target = tmp_path / "site"
    archive = next(dist.glob(kind))
    call("pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--target", target, archive)
    # Before everything else, an installation of the checkout included; and no module of the current folder.
    environment = {"PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}
    assert call("transformers_ov2", "--version", **environment) == f"transformers-ov2 {VERSION}\n"
    script = next((target / "bin").glob("transformers-ov2*"))
    clip = ROOT / "examples" / "assets" / "lamp.mp4"
    command = [sys.executable, script, "inspect", clip]
    process = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "125 frames" in process.stdout
    code = """
import importlib.metadata, pathlib, sys
import transformers_ov2
from transformers_ov2.model_card import create_model_card
assert pathlib.Path(transformers_ov2.__file__).is_relative_to(sys.argv[1])
assert "import transformers_ov2" in create_model_card("a/b").text
print(importlib.metadata.version("transformers-ov2"))
"""
    process = subprocess.run(
        [sys.executable, "-c", code, target],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (process.returncode, process.stdout) == (0, f"{VERSION}\n"), process.stderr
