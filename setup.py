# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup


# Every range has a reason; an upper bound stands where the next major release is known or likely to break us.
install_requires = [
    # 5.20 brought `sub_configs_defaults`, `VideoProcessorMixin` and registration of video processors by backend, 5.22
    # `slice_logits_to_keep`. 5.24 renamed `past_key_values` to `cache` in what generation calls of a model, and its
    # `add_adapter` and loading of adapters refuse every PEFT below 0.22: the newest release is 0.21.2.
    "transformers>=5.22,<5.24",
    # What transformers itself asks for in its `torch` extra; `nn.Buffer` is older.
    "torch>=2.6",
    # AutoVideoProcessor requires it. Keep it from the same source as torch: a CPU build of one breaks the other.
    "torchvision>=0.21",
    # FFmpeg 8: the side data (motion vectors, block quantisers) that the evidence was measured on. PyAV 19 changed
    # `av.open`, and no release after 18.1 has been checked for exact motion vectors.
    "av>=18.1,<19",
    "numpy>=1.26",
    # `device_map`, which every user with a GPU passes. In transformers it is an extra.
    "accelerate>=1.10.1",
    # Chat templates. In transformers it is an extra.
    "jinja2>=3.1.6",
    "pillow>=10.0.1",
    # Imported here as well; transformers narrows them further.
    "tokenizers>=0.22",
    "safetensors>=0.6",
    "huggingface-hub>=1.0,<3",
]

# TRL 1.16: its collator and what it drops are what the helpers in `training` were written for and tested with.
# numpy: the pyarrow that datasets brings refuses older ones without saying so in its metadata.
train = ["trl>=1.16,<2", "peft>=0.21,<1", "datasets>=4.7", "numpy>=2", "pyyaml>=6"]
viz = ["matplotlib>=3.9"]
# Matching, distances to boundaries: `evaluation.tracking`.
evaluate = ["scipy>=1.13"]
# What transformers' own server needs, the client that the tests ask it with included.
serve = ["transformers[serving]"]
# parameterized: transformers' own test suites import it, see tests/common. build, setuptools, twine: wheel and sdist.
test = [
    *train,
    *viz,
    *evaluate,
    *serve,
    "build>=1.2",
    "parameterized>=0.9",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.5",
    "scikit-video==1.1.11",
    "setuptools>=77",
    "twine>=6.1",
]

extras_require = {
    "train": train,
    # Exact bits per macroblock: Linux wheels only, and numpy below 2.
    "bits": ["codec-video-prep==0.2.5"],
    "viz": viz,
    "eval": evaluate,
    "serve": serve,
    "test": test,
    "dev": [*test, "ruff>=0.17", "transformers-mlinter>=0.1.5"],
}

# The one place of the version is the package itself, which must not be imported before it is installed.
package = Path(__file__).with_name("src") / "transformers_ov2" / "__init__.py"
version = re.search(r'^__version__ = "(.+)"$', package.read_text(encoding="utf-8"), re.MULTILINE)[1]

setup(
    name="transformers-ov2",
    version=version,
    description="LLaVA-OneVision-2 for transformers: native model, processor and codec-stream video tokenization",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The transformers_ov2 authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={"transformers_ov2": ["*.jinja", "*.md", "py.typed"]},
    # The second: harnesses find the package by it.
    entry_points={
        "console_scripts": ["transformers-ov2 = transformers_ov2.cli:main"],
        "lmms_eval.models": ["transformers_ov2 = transformers_ov2.evaluation.lmms_eval:MANIFEST"],
    },
    python_requires=">=3.11",
    install_requires=install_requires,
    extras_require=extras_require,
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
