# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Trains the micro checkpoint of `examples/assets/ov2-micro` from nothing, on a CPU, with TRL.

    python examples/train_micro.py --data micro/train --output micro/run

`model_cards/ov2-micro.md` has the calls of `synthetic/dataset.py` that make the data. The stages are those of
`examples/synthetic/micro.yaml`. A run that was stopped goes on from its last checkpoint.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from make_assets import SPECIAL_TOKENS
from synthetic.conversations import PLACEHOLDER
from synthetic.dataset import load_shards, to_named_blocks
from synthetic.policies import budget_tokens
from synthetic.scenes import COLUMNS, HUES, ROWS, SHAPES
from synthetic.tasks import BLOCK_WORDS, QUESTIONS, THINGS
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Qwen2Tokenizer, Qwen2VLImageProcessorPil, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from transformers_ov2 import OV2Config, OV2ForConditionalGeneration, OV2Processor, OV2VideoProcessor
from transformers_ov2.training import OV2DataCollator, plot_loss, trainable_table


CONFIG = Path(__file__).parent / "synthetic" / "micro.yaml"
# A timestamp costs its digits, the point, and these two.
TIMESTAMP_PARTS = ["\n<", " seconds>"]


def make_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE with a token for every word of the tasks; any text can be written in it."""
    words = [*HUES, *SHAPES, *ROWS, *COLUMNS, *THINGS, "right", "up", "down", "system", "user", "assistant"]
    texts = [
        *(question.format(" ".join(words)) for question in QUESTIONS.values()),
        *(f" {word}, {word}" for word in words),
        "You are a helpful assistant.",
        "The event happens in 1.00 - 2.00 seconds. A red disc at the top left. An",
        '<tracks coords="0.0 1 2 3;">red disc</tracks> [1.00, 2.00] "jumps once twice times and then',
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, min_frequency=1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    bpe = json.loads(tokenizer.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(merge) for merge in bpe["merges"]],
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=SPECIAL_TOKENS[1:2] + SPECIAL_TOKENS[3:],
    )
    tokenizer.add_tokens([AddedToken(part, normalized=False) for part in TIMESTAMP_PARTS])
    return tokenizer


def make_processor() -> OV2Processor:
    return OV2Processor(
        image_processor=Qwen2VLImageProcessorPil(
            patch_size=14, merge_size=2, temporal_patch_size=1, min_pixels=56 * 56, max_pixels=200_704
        ),
        tokenizer=make_tokenizer(),
        video_processor=OV2VideoProcessor(
            timestamp_decimals=2, max_pixels=28_000, max_tokens=budget_tokens(4), codec={"target_canvas": 4}
        ),
    )


def make_model(processor: OV2Processor, sizes: dict) -> OV2ForConditionalGeneration:
    """A random model for the processor's tokens; `sizes` holds the fields of the text and the vision config."""
    tokenizer = processor.tokenizer
    ids = dict(zip(SPECIAL_TOKENS, tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS)))
    config = OV2Config(
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16384,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "bos_token_id": None,
            **sizes["text"],
        },
        vision_config=sizes["vision"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    model = OV2ForConditionalGeneration(config)
    # As small as text embeddings at first, whatever the scale of the layers before it.
    torch.nn.init.normal_(model.model.visual.merger.mlp[2].weight, std=0.01)
    model.generation_config = GenerationConfig(
        eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"], do_sample=False
    )
    return model


def word_ids(processor: OV2Processor, words: Sequence[str] = BLOCK_WORDS) -> list[int]:
    return processor.tokenizer.convert_tokens_to_ids([f"Ġ{word}" for word in words])


def renew_words(model: OV2ForConditionalGeneration, processor: OV2Processor, words: list[str]) -> None:
    """
    Random embeddings and output rows for words that were never told apart: both had become parallel, and what is
    parallel gets the same gradient. They are as long as those of the other words.
    """
    ids = word_ids(processor, words)
    others = [index for index in word_ids(processor) if index not in ids]
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        with torch.no_grad():
            fresh = torch.nn.functional.normalize(torch.randn(len(ids), table.shape[1]), dim=1)
            table[ids] = fresh * table[others].norm(dim=1).mean()


def word_shares(names: list[str]) -> torch.Tensor:
    """The share of each of the `BLOCK_WORDS` in the names of blocks, float32 `[blocks, words]`."""
    named = [name.split() for name in names]
    return torch.tensor([[words.count(word) / len(words) for word in BLOCK_WORDS] for words in named])


class BlockNamer(torch.nn.Module):
    """
    Trains a vision tower alone: the token of a block is drawn to the embeddings of the words that name what it shows.
    What the words mean, the text model has learnt from conversations; it sees blocks as words from then on.
    """

    def __init__(self, model: OV2ForConditionalGeneration, processor: OV2Processor):
        super().__init__()
        self.visual = model.model.visual
        self.processor = processor
        self.register_buffer("words", model.get_input_embeddings().weight[word_ids(processor)].detach().clone())

    def collate(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """What the tower takes of pictures and of streams, and the shares of words in the name of each block."""
        batch = {}
        drawn = [row for row in rows if row["stream"] is None]
        streamed = [row for row in rows if row["stream"] is not None]
        if drawn:
            pictures = [picture for row in drawn for picture in row["images"]]
            inputs = self.processor.image_processor(pictures, return_tensors="pt")
            batch["pictures"] = {"pixel_values": inputs["pixel_values"], "grid_thw": inputs["image_grid_thw"]}
        if streamed:
            inputs = self.processor.video_processor([row["stream"] for row in streamed], return_tensors="pt")
            names = {"pixel_values": "pixel_values_videos", "grid_thw": "video_grid_thw"}
            names |= {"patch_positions": "video_patch_positions", "window_sizes": "video_window_sizes"}
            batch["streams"] = {ours: inputs[theirs] for ours, theirs in names.items()}
        return {"shares": word_shares([name for row in drawn + streamed for name in row["names"]]), **batch}

    def forward(self, shares: torch.Tensor, pictures: dict | None = None, streams: dict | None = None) -> dict:
        tokens = torch.cat([self.visual(**inputs).pooler_output for inputs in (pictures, streams) if inputs])
        scale = self.words.square().sum(1).mean()
        logits = 10 * tokens @ self.words.T / scale
        loss = torch.nn.functional.cross_entropy(logits, shares, reduction="none")
        # Most blocks show a wall.
        weights = torch.where(shares[:, BLOCK_WORDS.index("wall")] == 1, 0.2, 1.0)
        # A token as long as an embedding leaves room in the residual stream for what the layers add.
        length = (tokens.norm(dim=1) / scale.sqrt() - 1).square().mean()
        return {"loss": (weights * loss).sum() / weights.sum() + 0.1 * length}


class NamedBlocksCollator(OV2DataCollator):
    """Adds to a batch the `shares` of words in the names of blocks that have no pixels."""

    def __call__(self, examples: list[dict]) -> dict[str, torch.Tensor]:
        batch = super().__call__(examples)
        if names := [name for example in examples for name in example["names"]]:
            batch["shares"] = word_shares(names)
        return batch


class SimilarLengths(torch.utils.data.Sampler):
    """
    Indices of rows, `group` of similar length after one another, the groups in random order. Sorted megabatches, as
    `group_by_length` makes them, show long rows and then shorter ones for many steps: 1,000 of them taught almost
    nothing of what as many steps in random order taught.
    """

    def __init__(self, lengths: list[int], group: int, seed: int):
        self.lengths, self.group, self.seed, self.epoch = np.array(lengths), group, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        # What fills no group comes last.
        rest, rows = np.split(rng.permutation(len(self)), [len(self) % self.group])
        rows = rows[np.argsort(self.lengths[rows] * rng.uniform(0.9, 1.1, len(rows)))]
        groups = rng.permutation(rows.reshape(-1, self.group))
        yield from [*groups.ravel().tolist(), *rest.tolist()]


class Muon(torch.optim.AdamW):
    """
    AdamW but for groups with `orthogonal`: their matrices move along the orthogonalized mean of their gradients (Muon,
    https://kellerjordan.github.io/posts/muon), as far in root mean square as AdamW would move them. torch.optim.Muon
    computes in bfloat16, 14 times as long as float32 on a CPU that only emulates it.
    """

    momentum = 0.95

    @torch.no_grad()
    def step(self, closure=None):
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["orthogonal"]]
        loss = super().step(closure)
        self.param_groups = groups
        for group in groups:
            for matrix in group["params"] if group["orthogonal"] else []:
                if matrix.grad is None:
                    continue
                if not (state := self.state[matrix]):
                    state |= {"step": torch.tensor(0.0), "mean": torch.zeros_like(matrix)}  # AdamW loads no other
                state["step"] += 1
                mean = state["mean"].lerp_(matrix.grad, 1 - self.momentum)
                direction = orthogonalize(matrix.grad.lerp(mean, self.momentum))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-0.2 * max(matrix.shape) ** 0.5 * group["lr"])
        return loss


def orthogonalize(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix with singular values of 0.7 to 1.2 and the singular vectors of this one, by Newton and Schulz."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    result = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = result @ result.T
        result = 3.4445 * result + (2.0315 * gram @ gram - 4.775 * gram) @ result
    return result if wide is matrix else result.T


class MuonTrainer(Trainer):
    """Transformers' trainer, with [`Muon`] for all matrices but embeddings and output rows if `muon` is set."""

    muon = False

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        if not self.muon:
            return super().create_optimizer(model)
        groups = {True: [], False: []}
        for name, weight in (model or self.model).named_parameters():
            if weight.requires_grad:
                groups[weight.ndim == 2 and not any(part in name for part in ("embed", "lm_head"))].append(weight)
        self.optimizer = Muon(
            [{"params": weights, "orthogonal": orthogonal} for orthogonal, weights in groups.items()],
            lr=self.args.learning_rate,
            betas=(self.args.adam_beta1, self.args.adam_beta2),
            weight_decay=self.args.weight_decay,
        )
        return self.optimizer


class MicroTrainer(MuonTrainer, SFTTrainer):
    """TRL's trainer, on batches of rows of similar length, in which blocks may be named instead of drawn."""

    def _get_train_sampler(self, dataset=None) -> SimilarLengths:
        group = self.args.per_device_train_batch_size * self.args.world_size
        return SimilarLengths(self.train_dataset["length"], group, self.args.seed)

    def compute_loss(self, model, inputs, *args, **kwargs):
        if (shares := inputs.pop("shares", None)) is not None:
            inputs["inputs_embeds"] = self._embed_named(inputs["input_ids"], shares)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _embed_named(self, ids: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """The embeddings of a prompt, with those of the words that name a block, mixed, at each placeholder."""
        embedding = self.accelerator.unwrap_model(self.model).get_input_embeddings()
        words = embedding.weight[word_ids(self.processing_class)]
        # As uncertain as a vision tower is: something of another block, and something that no word is.
        others = shares[torch.randperm(len(shares))] * torch.rand(len(shares), 1).square() * 0.4
        blocks = (shares + others) @ words
        length = words.norm(dim=1).mean().detach()
        blocks = torch.nn.functional.normalize(blocks, dim=1) + 0.3 * torch.randn_like(blocks) / blocks.shape[1] ** 0.5
        places = ids == self.processing_class.tokenizer.convert_tokens_to_ids(PLACEHOLDER)
        return embedding(ids).masked_scatter(places[..., None], length * blocks)


def make_trainer(
    stage: dict, config: dict, model: OV2ForConditionalGeneration, output: Path, args: argparse.Namespace
) -> Trainer:
    """TRL's trainer on conversations; transformers' own on named blocks."""
    processor = make_processor()
    processor.video_processor.max_tokens = None  # streams of all budgets
    dataset = load_shards(args.data, stage["rows"], stage.get("most"))
    options = {
        "output_dir": str(output),
        "use_cpu": True,
        "seed": config["seed"],
        "remove_unused_columns": False,
        "dataloader_num_workers": args.workers,
        "dataloader_persistent_workers": args.workers > 0,
        "report_to": "none",
        **config["trainer"],
        **stage["trainer"],
    }
    if stage.get("name_blocks"):
        namer = BlockNamer(model, processor)
        trainer = MuonTrainer(
            namer,
            TrainingArguments(**options),
            train_dataset=dataset.with_transform(to_named_blocks),
            data_collator=namer.collate,
        )
    else:
        trainer = MicroTrainer(
            model=model,
            args=SFTConfig(assistant_only_loss=True, max_length=None, gradient_checkpointing=False, **options),
            train_dataset=dataset,
            processing_class=processor,
            data_collator=NamedBlocksCollator(processor),
        )
    trainer.muon = stage.get("muon", False)
    return trainer


def train_stage(stage: dict, config: dict, start: Path | None, output: Path, args: argparse.Namespace) -> None:
    """One stage from the model of the one before, or from its own last checkpoint."""
    torch.manual_seed(config["seed"])
    if start is None:
        model = make_model(make_processor(), config["model"])
    else:
        model = OV2ForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    if words := stage.get("renew_words"):
        renew_words(model, make_processor(), words)
    model.model.visual.requires_grad_(not stage.get("freeze_vision", False))
    trainer = make_trainer(stage, config, model, output, args)
    print(f"\n{output.name}: {len(trainer.train_dataset)} rows\n{trainable_table(model)}", flush=True)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output)) if output.exists() else None)
    if trainer.is_world_process_zero():
        plot_loss(trainer.state.log_history, output / "loss.png", title=output.name)
        trainer.state.save_to_json(str(output / "trainer_state.json"))
        model.save_pretrained(output / "final")
    trainer.accelerator.wait_for_everyone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of shards, see synthetic/dataset.py")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--config", type=Path, default=CONFIG, help="stages (default: those of the checkpoint)")
    parser.add_argument("--publish", type=Path, help="folder for the model in bfloat16, with its processor")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--workers", type=int, default=1, help="processes that read samples")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = yaml.safe_load(args.config.read_text())
    model = None
    for stage in config["stages"]:
        output = args.output / stage["name"]
        if not (output / "final" / "model.safetensors").exists():
            train_stage(stage, config, model, output, args)
        model = output / "final"
    if args.publish is not None:
        shutil.rmtree(args.publish, ignore_errors=True)
        OV2ForConditionalGeneration.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(args.publish)
        make_processor().save_pretrained(args.publish)


if __name__ == "__main__":
    main()
