# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Checkpoint folders from other checkpoint folders, without running a model and without holding its weights.

`merge_checkpoints` joins a OneVision encoder and a language model to an untrained LLaVA-OneVision-2 ("stage 0");
`convert_checkpoint` turns a downloaded released repository into a native one.
"""

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import ModelCard, snapshot_download, split_torch_state_dict_into_shards
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoTokenizer, Qwen2VLImageProcessorPil
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import (
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    cached_file,
    logging,
)

from .configuration_ov2 import OV2Config, OV2MoeConfig, OV2VisionConfig
from .model_card import complete_model_card, create_model_card
from .modeling_ov2 import OV2ForConditionalGeneration, OV2MoeForConditionalGeneration
from .modeling_ov2_vision import OV2VisionModel
from .processing_ov2 import OV2Processor
from .video_processing_ov2 import OV2VideoProcessor


# Small enough for the memory of a laptop.
MAX_SHARD_SIZE = "4GB"
# Pixels of an image, as in the released repositories.
MIN_IMAGE_PIXELS, MAX_IMAGE_PIXELS = 56 * 56, 4_000_000
VISION_TOKENS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
# Never code.
DOWNLOADED_FILES = ("*.jinja", "*.json", "*.safetensors", "*.txt", "LICENSE*", "README.md")
WEIGHT_MODES = ("hardlink", "symlink", "copy")

# Model type of the language model → classes of the whole.
_CLASSES = {
    "qwen3": (OV2Config, OV2ForConditionalGeneration),
    "qwen3_moe": (OV2MoeConfig, OV2MoeForConditionalGeneration),
}
_MODELS = {config_class.model_type: model_class for config_class, model_class in _CLASSES.values()}
_ENCODER = "onevision_encoder"
_VISUAL_PREFIX, _TEXT_PREFIX = "model.visual.", "model.language_model."
# What the encoder's file holds and the full model need not have: its pooling head and the norm before that, rotary
# frequencies that are computed, the merger of another language model.
_ENCODER_ONLY = ("head.", "layernorm_post.", "video_rope.", "rotary_pos_emb.", "merger.")
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_PLAN = "plan.json"


def merge_checkpoints(
    encoder: str | os.PathLike,
    language_model: str | os.PathLike,
    output: str | os.PathLike,
    *,
    spatial_merge_size: int | None = None,
    seed: int = 0,
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> Path:
    """
    Join a OneVision encoder and a Qwen3 language model to a LLaVA-OneVision-2 checkpoint before its training.

    Weights are copied bit by bit, in the dtype in which they are stored, a shard at a time; the merger between the two
    is freshly initialised in the dtype of the language model. Every tensor that was written is compared with its
    source, and the finished folder is checked against the model: no key missing, none unexpected. The folder holds
    everything that the AutoClasses read: config, weights, processor with chat template, tokenizer, generation config,
    model card.

    Until it is complete, the folder is called `{output}.partial`. A merge that was interrupted goes on from there when
    it is started again with the same arguments.

    Args:
        encoder (`str` or `os.PathLike`):
            Folder or repository of the encoder: the stand-alone layout (separate query, key and value projections), or
            a whole LLaVA-OneVision-2, whose vision tower is taken. The pooling head of the stand-alone encoder and the
            norm before it are left out, as in the released models.
        language_model (`str` or `os.PathLike`):
            Folder or repository of a Qwen3 of any size, dense or a mixture of experts, with tied or separate output
            embeddings.
        output (`str` or `os.PathLike`):
            Folder to make. It must not exist, or be empty.
        spatial_merge_size (`int`, *optional*):
            Side in patches of the block that becomes one token. Defaults to that of a whole model, or to 2.
        seed (`int`, *optional*, defaults to 0):
            Seed of the merger's weights.
        max_shard_size (`int` or `str`, *optional*, defaults to `"4GB"`):
            Largest file of weights, in bytes or as in `"4GB"`. No more than this is in memory at a time, or the
            largest tensor where that is larger.

    Returns:
        `Path`: the folder.

    Raises:
        ValueError: the two do not fit the architecture, a file contradicts its config, the tokenizer has no room for
            the special tokens, `output` is taken: nothing was written. Or, after writing, a file differs from its
            sources (it is removed; the next start writes it again), or the model does not load from the unfinished
            folder, which is left to be looked at. `output` itself is made by success alone.
        OSError: a folder or repository is not there.

    Example:

    ```python
    >>> from transformers_ov2.merging import merge_checkpoints

    >>> merge_checkpoints("lmms-lab-encoder/onevision-encoder-large", "Qwen/Qwen3-8B", "stage0")
    ```
    """
    output = _free_folder(output)
    vision, text = _Checkpoint.open(encoder), _Checkpoint.open(language_model)
    config = _merged_config(vision, text, spatial_merge_size)
    tokenizer = _tokenizer(text, config)
    tensors = {**_vision_tensors(vision), **_merger_tensors(config, text.dtype, seed), **_text_tensors(text)}
    tensors = _check_tensors(tensors, config, vision, text)
    shards = split_torch_state_dict_into_shards(
        {name: tensor.empty() for name, tensor in tensors.items()}, max_shard_size=max_shard_size
    )

    partial = _begin(
        output,
        {
            "config": config.to_json_string(),
            "tensors": {name: tensor.describe() for name, tensor in tensors.items()},
            "shards": shards.filename_to_tensors,
            "seed": seed,
        },
    )
    bar = logging.tqdm(total=shards.metadata["total_size"], unit="B", unit_scale=True, desc="Merging weights")
    with bar:
        for file, names in shards.filename_to_tensors.items():
            _write_shard(partial / file, {name: tensors[name] for name in names})
            _verify_shard(partial / file, {name: tensors[name] for name in names})
            bar.update(sum(tensors[name].num_bytes for name in names))
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": dict(sorted(shards.tensor_to_filename.items()))}
        (partial / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    _copy_generation_config(text.folder, partial)
    _processor(config.vision_config, tokenizer).save_pretrained(partial)
    config.save_pretrained(partial)
    card = create_model_card(output.name, base_model=text.repository)
    card.text += (
        "\n\n## Stage 0\n\n"
        f"The vision tower of {vision.link} and the language model {text.link}, unchanged. The merger between them is "
        f"freshly initialised (seed {seed}): train it before use.\n"
    )
    card.save(partial / "README.md")
    return _finish(partial, output, partial)


def convert_checkpoint(source: str | os.PathLike, output: str | os.PathLike, *, weights: str = "hardlink") -> Path:
    """
    Turn a released LLaVA-OneVision-2 repository into a native one: its weight files and generation config untouched,
    config, processor and tokenizer as this package saves them, no `auto_map` and no remote code. The model card keeps
    its text and says how to load the folder.

    The new folder is checked by loading: the processor for real, the model on the meta device, where every key and
    shape of the weight files must fit and none may be missing.

    Args:
        source (`str` or `os.PathLike`): folder or repository.
        output (`str` or `os.PathLike`): folder to make. It must not exist, or be empty.
        weights (`str`, *optional*, defaults to `"hardlink"`):
            How weight files get there: `"hardlink"` (no space, same file system), `"symlink"` (no space, lasts as long
            as the source) or `"copy"`.

    Returns:
        `Path`: the folder.

    Raises:
        ValueError: `source` is no LLaVA-OneVision-2, its weights do not fit its config, or `output` is taken.
        OSError: `source` is not there, or its file system does not allow the link.
    """
    if weights not in WEIGHT_MODES:
        raise ValueError(f"`weights` must be one of {', '.join(map(repr, WEIGHT_MODES))}, got {weights!r}.")
    output = _free_folder(output)
    checkpoint = _Checkpoint.open(source)
    if checkpoint.config.get("model_type") not in _MODELS:
        raise ValueError(
            f"{checkpoint.name} is no LLaVA-OneVision-2: its model type is {checkpoint.config.get('model_type')!r}, "
            f"not {' or '.join(map(repr, _MODELS))}."
        )
    config = AutoConfig.from_pretrained(checkpoint.folder)
    config.architectures = [_MODELS[config.model_type].__name__]
    processor = OV2Processor.from_pretrained(checkpoint.folder)

    files = sorted({file for tensor in checkpoint.tensors.values() for file, _ in tensor.parts})
    index = checkpoint.folder / SAFE_WEIGHTS_INDEX_NAME
    plan = {"converted": str(checkpoint.folder.resolve())}
    # Links take no time: what a killed run left is not worth keeping.
    shutil.rmtree(_begin(output, plan))
    partial = _begin(output, plan)
    try:
        for file in files:
            _place(file, partial / file.name, weights)
        if [file.name for file in files] != [SAFE_WEIGHTS_NAME]:
            shutil.copyfile(index, partial / index.name)
        for licence in checkpoint.folder.glob("LICENSE*"):
            shutil.copyfile(licence, partial / licence.name)
        _copy_generation_config(checkpoint.folder, partial)
        processor.save_pretrained(partial)
        config.save_pretrained(partial)
        card = create_model_card(output.name, base_model=checkpoint.repository)
        if (checkpoint.folder / "README.md").is_file():
            card = complete_model_card(ModelCard.load(checkpoint.folder / "README.md"), card)
        card.save(partial / "README.md")
        return _finish(partial, output, checkpoint.name)
    except BaseException:
        shutil.rmtree(partial)
        raise


@dataclass(frozen=True)
class _Stored:
    """A tensor of the checkpoints: one that a file holds, or several that are joined along their rows."""

    parts: tuple[tuple[Path, str], ...]  # file and key
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return self.empty().nbytes

    def empty(self) -> torch.Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device="meta")

    def load(self, files: "_OpenFiles") -> torch.Tensor:
        tensors = [files[file].get_tensor(key) for file, key in self.parts]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def describe(self) -> list:
        return [[(str(file.resolve()), key) for file, key in self.parts], self.shape, str(self.dtype)]

    @staticmethod
    def join(tensors: list["_Stored"]) -> "_Stored":
        """Tensors of one shape and dtype, one below the other."""
        first = tensors[0]
        shape = (len(tensors) * first.shape[0], *first.shape[1:])
        return _Stored(tuple(part for tensor in tensors for part in tensor.parts), shape, first.dtype)


@dataclass(frozen=True)
class _Fresh:
    """A tensor that no file holds."""

    tensor: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def num_bytes(self) -> int:
        return self.tensor.nbytes

    def empty(self) -> torch.Tensor:
        return torch.empty_like(self.tensor, device="meta")

    def load(self, files: "_OpenFiles") -> torch.Tensor:
        return self.tensor

    def describe(self) -> list:
        return [self.shape, str(self.tensor.dtype)]


class _OpenFiles(contextlib.ExitStack):
    """Safetensors files, each opened when it is first asked for."""

    def __init__(self):
        super().__init__()
        self._files = {}

    def __getitem__(self, path: Path):
        if path not in self._files:
            self._files[path] = self.enter_context(safe_open(path, framework="pt"))
        return self._files[path]


@dataclass(frozen=True)
class _Checkpoint:
    """A folder of safetensors files."""

    name: str
    folder: Path
    config: dict
    tensors: dict[str, _Stored]

    @classmethod
    def open(cls, name: str | os.PathLike) -> "_Checkpoint":
        """Reads the config and the headers of the weight files; downloads a repository, its code excepted."""
        name = os.fspath(name)
        folder = Path(name)
        if not folder.is_dir():
            # The error for what is no repository either is transformers' own.
            cached_file(name, CONFIG_NAME)
            folder = Path(snapshot_download(name, allow_patterns=DOWNLOADED_FILES))
        elif not (folder / CONFIG_NAME).is_file():
            raise FileNotFoundError(f"{name}: {CONFIG_NAME} is missing, so this folder holds no checkpoint.")
        try:
            config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
            index = folder / SAFE_WEIGHTS_INDEX_NAME
            if index.is_file() and not (folder / SAFE_WEIGHTS_NAME).is_file():
                weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
                files = sorted(set(weight_map.values()))
            else:
                weight_map, files = None, [SAFE_WEIGHTS_NAME]
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{name}: a json file is damaged ({error}).") from error
        if config.get("quantization_config"):
            raise ValueError(f"{name} is quantized: take the original weights.")
        tensors = {}
        for file in files:
            # Names come from a download: they must not lead out of the folder.
            if Path(file).name != file or not (folder / file).is_file():
                raise ValueError(f"{name}: the weight file {file} is missing. Only safetensors files are read.")
            tensors |= _read_header(name, folder / file)
        if weight_map is not None and (lost := weight_map.keys() - tensors.keys()):
            raise ValueError(f"{name}: {min(lost)} is in the index of the weights, but in none of their files.")
        return cls(name, folder, config, tensors)

    @property
    def repository(self) -> str | None:
        """The name on the hub, `None` for a folder."""
        return None if Path(self.name).is_dir() else self.name

    @property
    def link(self) -> str:
        if self.repository is None:
            return f"`{Path(self.name).resolve().name}`"
        return f"[{self.repository}](https://huggingface.co/{self.repository})"

    @property
    def dtype(self) -> torch.dtype:
        """That of the largest tensor."""
        return max(self.tensors.values(), key=lambda tensor: tensor.num_bytes).dtype


def _read_header(name: str, path: Path) -> dict[str, _Stored]:
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                header = file.get_slice(key)
                if header.get_dtype() not in _DTYPES:
                    raise ValueError(
                        f"{name}: {key} is stored as {header.get_dtype()}; only float32, bfloat16 and float16 weights "
                        "are merged."
                    )
                shape, dtype = tuple(header.get_shape()), _DTYPES[header.get_dtype()]
                tensors[key] = _Stored(((path, key),), shape, dtype)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{name}: the weight file {path.name} is damaged ({error}).") from error
    return tensors


def _merged_config(vision: _Checkpoint, text: _Checkpoint, spatial_merge_size: int | None) -> OV2Config:
    if vision.config.get("model_type") in _MODELS:
        vision_config = dict(vision.config.get("vision_config") or {})
    elif vision.config.get("model_type") == _ENCODER:
        # Nothing is pooled in front of a language model.
        vision_config = {**vision.config, "use_head": False}
    else:
        raise ValueError(
            f"{vision.name} is no OneVision encoder: its model type is {vision.config.get('model_type')!r}, not "
            f"{' or '.join(map(repr, (_ENCODER, *_MODELS)))}."
        )
    text_type = text.config.get("model_type")
    if text_type not in _CLASSES:
        raise ValueError(
            f"{text.name} is no Qwen3 language model: its model type is {text_type!r}, not "
            f"{' or '.join(map(repr, _CLASSES))}."
        )
    config_class, model_class = _CLASSES[text_type]
    if spatial_merge_size is not None:
        vision_config["spatial_merge_size"] = spatial_merge_size
    vision_config["out_hidden_size"] = text.config.get("hidden_size")
    try:
        config = config_class(
            text_config=_without_repository(text.config),
            vision_config=_without_repository(vision_config),
            tie_word_embeddings=bool(text.config.get("tie_word_embeddings", False)),
        )
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = error.__cause__ or error
        raise ValueError(f"{vision.name} and {text.name} make no LLaVA-OneVision-2: {reason}") from error
    config.architectures = [model_class.__name__]
    config.dtype = text.dtype
    return config


def _without_repository(config: dict) -> dict:
    """A config without what it says about the files around it."""
    dropped = ("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
    return {key: value for key, value in config.items() if key not in dropped}


def _tokenizer(text: _Checkpoint, config: OV2Config):
    """The language model's tokenizer with the vision tokens, whose ids are written into the config."""
    if not any((text.folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ValueError(f"{text.name} has no tokenizer (tokenizer.json).")
    tokenizer = AutoTokenizer.from_pretrained(text.folder, trust_remote_code=False)
    # Qwen3's own tokenizer has them all.
    known = tokenizer.get_vocab()
    tokenizer.add_tokens([token for token in VISION_TOKENS.values() if token not in known], special_tokens=True)
    for name, token in VISION_TOKENS.items():
        setattr(config, name, tokenizer.convert_tokens_to_ids(token))
    last = max(getattr(config, name) for name in VISION_TOKENS)
    if last >= config.text_config.vocab_size:
        raise ValueError(
            f"{text.name}: the tokenizer numbers the vision tokens up to {last}, but there are only "
            f"{config.text_config.vocab_size} embeddings (`vocab_size`): resize them before the merge."
        )
    # That of a text model; the processor brings one that knows images and videos.
    tokenizer.chat_template = None
    return tokenizer


def _processor(vision_config: OV2VisionConfig, tokenizer) -> OV2Processor:
    grid = {
        "patch_size": vision_config.patch_size,
        "merge_size": vision_config.spatial_merge_size,
        "temporal_patch_size": vision_config.temporal_patch_size,
    }
    return OV2Processor(
        image_processor=Qwen2VLImageProcessorPil(min_pixels=MIN_IMAGE_PIXELS, max_pixels=MAX_IMAGE_PIXELS, **grid),
        tokenizer=tokenizer,
        video_processor=OV2VideoProcessor(**grid),
    )


def _vision_tensors(vision: _Checkpoint) -> dict[str, _Stored]:
    """The encoder's tensors under the names of the full model, its query, key and value projections joined."""
    prefix = _VISUAL_PREFIX if vision.config["model_type"] in _MODELS else ""
    tensors = {key.removeprefix(prefix): t for key, t in vision.tensors.items() if key.startswith(prefix)}
    merged = {}
    for key, tensor in tensors.items():
        name = key.replace(".self_attn.out_proj.", ".self_attn.proj.")
        if ".self_attn.q_proj." in key:
            parts = [tensors.get(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
            if None in parts or len({(part.shape, part.dtype) for part in parts}) > 1:
                raise ValueError(f"{vision.name}: {key} and the key and value projections beside it do not fit.")
            name, tensor = key.replace(".q_proj.", ".qkv."), _Stored.join(parts)
        elif ".self_attn.k_proj." in key or ".self_attn.v_proj." in key:
            continue
        if not name.startswith("merger."):
            merged[_VISUAL_PREFIX + name] = tensor
    return merged


def _merger_tensors(config: OV2Config, dtype: torch.dtype, seed: int) -> dict[str, _Fresh]:
    """The merger as the model initialises it, from its own seed."""
    with torch.device("meta"):
        visual = OV2VisionModel(config.vision_config)
    merger = visual.merger.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        merger.apply(visual._init_weights)
    return {f"{_VISUAL_PREFIX}merger.{name}": _Fresh(t.to(dtype)) for name, t in merger.state_dict().items()}


def _text_tensors(text: _Checkpoint) -> dict[str, _Stored]:
    return {
        _TEXT_PREFIX + key.removeprefix("model.") if key.startswith("model.") else key: tensor
        for key, tensor in text.tensors.items()
    }


def _check_tensors(tensors: dict, config: OV2Config, vision: _Checkpoint, text: _Checkpoint) -> dict:
    """The tensors that the model has, in its order. Refuses what is missing, too much or of another shape."""
    with torch.device("meta"):
        model = _MODELS[config.model_type](config)
    # As files have it: each expert on its own.
    expected = revert_weight_conversion(model, model.state_dict())
    if config.tie_word_embeddings:
        for tied, kept in model._tied_weights_keys.items():
            expected.pop(tied)
            # Some files hold the embeddings twice.
            if (twin := tensors.pop(tied, None)) is not None and kept in tensors:
                with _OpenFiles() as files:
                    if not _same_bits(twin.load(files), tensors[kept].load(files)):
                        raise ValueError(
                            f"{text.name}: its config ties input and output embeddings (`tie_word_embeddings`), but "
                            "its files hold two different ones."
                        )
    for name in tensors.keys() - expected.keys():
        if not name.startswith(tuple(_VISUAL_PREFIX + part for part in _ENCODER_ONLY)):
            owner = vision if name.startswith(_VISUAL_PREFIX) else text
            raise ValueError(f"{owner.name}: the model has no place for {name} of the weight files.")
    for name, tensor in expected.items():
        owner = vision if name.startswith(_VISUAL_PREFIX) else text
        if name not in tensors:
            raise ValueError(f"{owner.name}: the weight files lack {name}.")
        if tensors[name].shape != tuple(tensor.shape):
            raise ValueError(
                f"{owner.name}: {name} has the shape {tensors[name].shape}, its config says {tuple(tensor.shape)}."
            )
    return {name: tensors[name] for name in expected}


def _free_folder(output: str | os.PathLike) -> Path:
    """The absolute path of a folder that may be made."""
    output = Path(os.path.abspath(output))
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ValueError(f"{output} already exists: choose another folder or remove it.")
    return output


def _begin(output: Path, plan: dict) -> Path:
    """The unfinished folder, new or left by an interrupted run of the same plan."""
    partial = output.with_name(f"{output.name}.partial")
    plan = {"plan": hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()}
    if partial.is_dir() and any(partial.iterdir()):
        try:
            same = json.loads((partial / _PLAN).read_text(encoding="utf-8")) == plan
        except (OSError, ValueError):
            same = False
        if not same:
            raise ValueError(
                f"{partial} holds something else, such as the beginning of another merge: remove it, or choose "
                f"another folder than {output}."
            )
        return partial
    partial.mkdir(parents=True, exist_ok=True)
    _replace_when_written(partial / _PLAN, lambda path: path.write_text(json.dumps(plan), encoding="utf-8"))
    return partial


def _replace_when_written(path: Path, write) -> None:
    """Gives a file its name only once all of it is on the disk."""
    unfinished = path.with_name(f"{path.name}.partial")
    write(unfinished)
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _write_shard(path: Path, tensors: dict) -> None:
    if path.is_file():  # by an earlier run
        return
    with _OpenFiles() as files:
        loaded = {name: tensor.load(files) for name, tensor in tensors.items()}
        _replace_when_written(path, lambda path: save_file(loaded, path, metadata={"format": "pt"}))


def _verify_shard(path: Path, tensors: dict) -> None:
    with _OpenFiles() as files:
        written = files[path]
        same = set(written.keys()) == tensors.keys() and all(
            _same_bits(written.get_tensor(name), tensor.load(files)) for name, tensor in tensors.items()
        )
    if not same:
        path.unlink()
        raise ValueError(
            f"{path} differed from the weights that it was made of and was removed: start again. If this happens "
            "twice, look at the disk."
        )


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal in every bit, NaN included."""
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and torch.equal(a.flatten().view(torch.uint8), b.flatten().view(torch.uint8))
    )


def _place(source: Path, target: Path, mode: str) -> None:
    source = source.resolve()  # the hub's cache holds links
    try:
        if mode == "hardlink":
            os.link(source, target)
        elif mode == "symlink":
            target.symlink_to(source)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        if mode == "copy":
            raise
        raise OSError(
            f"{source.name} cannot be linked into {target.parent} ({error.strerror}): choose another way to place "
            f"the weights ({', '.join(WEIGHT_MODES)})."
        ) from error


def _copy_generation_config(source: Path, target: Path) -> None:
    if (source / GENERATION_CONFIG_NAME).is_file():
        shutil.copyfile(source / GENERATION_CONFIG_NAME, target / GENERATION_CONFIG_NAME)


def _finish(partial: Path, output: Path, name: str | Path) -> Path:
    """Loads what was written, and gives it its name."""
    OV2Processor.from_pretrained(partial)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the table that tells what is wrong: the error says it
    try:
        model_class = _MODELS[AutoConfig.from_pretrained(partial).model_type]
        _, report = model_class.from_pretrained(partial, device_map={"": "meta"}, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)
    if problems := [f"{kind.replace('_', ' ')} {sorted(found)}" for kind, found in report.items() if found]:
        raise ValueError(f"{name} does not load: {'; '.join(problems)}.")
    if output.is_dir():
        output.rmdir()
    os.replace(partial, output)
    (output / _PLAN).unlink(missing_ok=True)
    return output


__all__ = ["convert_checkpoint", "merge_checkpoints"]
