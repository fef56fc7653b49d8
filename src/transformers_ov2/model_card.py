# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Model cards that a push writes.

A repository on the hub does not record which package its classes come from. The card says it: what to install, what to
import, and code that loads the repository.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import EntryNotFoundError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers.utils import ADAPTER_CONFIG_NAME, safe_load_json_file


TEMPLATE = Path(__file__).with_name("model_card.md")
USAGE_HEADING = "## How to use"
TAGS = ("transformers-ov2", "llava-onevision2", "multimodal", "video")


def create_model_card(
    repo_id: str, *, base_model: str | None = None, adapter: bool = False, auto_class: str | None = None
) -> ModelCard:
    """
    The card of a new repository.

    Args:
        repo_id (`str`): the repository, with its namespace.
        base_model (`str`, *optional*): repository of the model that this one was trained from, or adapts.
        adapter (`bool`, *optional*, defaults to `False`): the repository holds a PEFT adapter and not a whole model.
        auto_class (`str`, *optional*): AutoClass that loads the model, for one that does not answer in text.

    Returns:
        `ModelCard`: metadata and text of `README.md`.
    """
    data = ModelCardData(
        library_name="peft" if adapter else "transformers",
        pipeline_tag="image-text-to-text" if auto_class is None else None,
        base_model=base_model,
        tags=list(TAGS),
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        usage_heading=USAGE_HEADING,
        repo_id=repo_id,
        base_model=base_model,
        adapter=adapter,
        auto_class=auto_class,
    )


def write_model_card(
    folder: str | Path,
    repo_id: str,
    *,
    base_model: str | None = None,
    auto_class: str | None = None,
    token: bool | str | None = None,
):
    """
    Write `README.md` of a folder that is about to be uploaded.

    A card that the repository already has keeps its text and its metadata: only what is missing is added, and the
    section on usage when the card nowhere says to import this package. Tags of a `README.md` in the folder, which
    transformers and PEFT write there, are kept.

    Args:
        folder (`str` or `Path`): what a `save_pretrained` wrote. With an adapter's config in it, it is an adapter.
        repo_id (`str`): the repository, with its namespace.
        base_model (`str`, *optional*): what the model was loaded from. Ignored unless it names a repository. Read from
            the adapter's config when it is missing.
        auto_class (`str`, *optional*): AutoClass that loads the model, for one that does not answer in text.
        token (`bool` or `str`, *optional*): for the hub.
    """
    path, adapter_config = Path(folder, "README.md"), Path(folder, ADAPTER_CONFIG_NAME)
    if adapter_config.is_file():
        base_model = base_model or safe_load_json_file(adapter_config)["base_model_name_or_path"]
    base_model = base_model if _names_repository(base_model) and base_model != repo_id else None
    ours = create_model_card(repo_id, base_model=base_model, adapter=adapter_config.is_file(), auto_class=auto_class)
    try:
        card = ModelCard.load(repo_id, token=token)
    except EntryNotFoundError:
        card = ours
    # PEFT puts the base model into the tags as well, be it a folder. The hub derives that tag from the metadata.
    written = (ModelCard.load(path).data.tags or []) if path.is_file() else []
    written = [tag for tag in written if not tag.startswith("base_model:")]
    complete_model_card(card, ours, written).save(path)


def complete_model_card(card: ModelCard, ours: ModelCard, tags: Iterable[str] = ()) -> ModelCard:
    """
    Add to a card what it lacks of `ours`: metadata, tags, and the section on usage when it nowhere says to import this
    package. Its own text and metadata stay.
    """
    for name in ("library_name", "pipeline_tag", "base_model"):
        if card.data.get(name) is None:
            card.data[name] = ours.data.get(name)
    card.data.tags = list(dict.fromkeys([*(card.data.tags or []), *tags, *TAGS]))
    if "import transformers_ov2" not in card.text:
        usage = ours.text[ours.text.index(USAGE_HEADING) :]
        card.text = f"{card.text.rstrip()}\n\n{usage}"
    return card


def _names_repository(name: str | None) -> bool:
    """Whether `name`, which a model was loaded from, is a repository's and not a folder's."""
    if not name or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def push_to_hub(
    repo_id: str,
    *parts,
    commit_message: str | None = None,
    private: bool | None = None,
    token: bool | str | None = None,
    create_pr: bool = False,
) -> CommitInfo:
    """
    Upload a model and its processor, or one of them, in one commit, with a card that says how to load them.

    `model.push_to_hub` uploads the same files, but writes transformers' general card, which names neither this package
    nor, for adapters, the base model.

    Args:
        repo_id (`str`): the repository, created when it does not exist.
        parts: an OV2 model, a model with adapters (`PeftModel`, or after `model.add_adapter`: only the adapters are
            uploaded), a processor.
        commit_message (`str`, *optional*): message of the commit. Defaults to the names of the classes.
        private (`bool`, *optional*): whether a new repository is private.
        token (`bool` or `str`, *optional*): for the hub.
        create_pr (`bool`, *optional*, defaults to `False`): open a pull request instead of committing to `main`.

    Returns:
        `CommitInfo`: the commit.

    Raises:
        ValueError: there is nothing to upload.

    Example:

    ```python
    >>> from peft import LoraConfig, get_peft_model
    >>> from transformers_ov2 import push_to_hub

    >>> peft_model = get_peft_model(model, LoraConfig())
    >>> ...
    >>> push_to_hub("your-name/your-adapter", peft_model, processor)
    ```
    """
    if not parts:
        raise ValueError("There is nothing to upload: pass a model, a processor, or both.")
    model = next((part for part in parts if hasattr(part, "config")), None)
    commit_message = commit_message or f"Upload {', '.join(type(part).__name__ for part in parts)}"
    api = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            part.save_pretrained(folder)
        repo_id = api.create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        write_model_card(
            folder,
            repo_id,
            base_model=getattr(model, "name_or_path", None),
            auto_class=None if model is None or model.can_generate() else "AutoModel",
            token=token,
        )
        return api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message=commit_message, token=token, create_pr=create_pr
        )


__all__ = ["complete_model_card", "create_model_card", "push_to_hub", "write_model_card"]
