# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""`generate` with images and videos: strategies, caches, drafts, conversations."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    AutoModelForCausalLM,
    CompileConfig,
    ContinuousBatchingConfig,
    DynamicCache,
    GenerationConfig,
)

from transformers_ov2 import OV2ForConditionalGeneration


OPTIONS = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
IMAGE, VIDEO = [992, *[990] * 4, 993], [992, *[991] * 8, 993]


def image_inputs():
    return {"pixel_values": torch.randn(16, 588), "image_grid_thw": torch.tensor([[1, 4, 4]])}


def video_inputs(window_size=1):
    return {
        "pixel_values_videos": torch.randn(32, 588),
        "video_grid_thw": torch.tensor([[2, 4, 4]]),
        "video_patch_positions": torch.randint(0, 50, (32, 3)),
        "video_window_sizes": torch.tensor([window_size]),
    }


def text_inputs(*tokens):
    return {"input_ids": torch.tensor([tokens]), "attention_mask": torch.ones(1, len(tokens), dtype=torch.long)}


@pytest.fixture
def model(tiny_config):
    return OV2ForConditionalGeneration(tiny_config()).eval()


@pytest.fixture
def inputs():
    return {**text_inputs(11, *IMAGE, 12, *VIDEO, 13), **image_inputs(), **video_inputs()}


@pytest.fixture
def greedy(model, inputs):
    """Every token is the likeliest one after those before it, found without a cache."""
    ids = inputs["input_ids"]
    inputs = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    with torch.no_grad():
        for _ in range(OPTIONS["max_new_tokens"]):
            ids = torch.cat([ids, model(input_ids=ids, **inputs).logits[:, -1:].argmax(-1)], dim=1)
    return ids.tolist()


# Strategies and caches.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cache_implementation": "static"},
        {"use_cache": False},
        {"prefill_chunk_size": 7},
        {"num_beams": 1, "num_return_sequences": 1, "output_scores": True},
    ],
    ids=str,
)
def test_greedy(model, inputs, greedy, options):
    assert model.generate(**inputs, **OPTIONS, **options).tolist() == greedy


def test_inputs_embeds(model, inputs, greedy):
    length = inputs["input_ids"].shape[1]
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    assert model.generate(inputs_embeds=embeddings, **inputs, **OPTIONS).tolist() == greedy
    del inputs["input_ids"]
    assert model.generate(inputs_embeds=embeddings, **inputs, **OPTIONS).tolist() == [greedy[0][length:]]


def test_everything_is_returned(model, inputs, greedy):
    model.set_attn_implementation("eager")
    names = ("scores", "logits", "attentions", "hidden_states")
    output = model.generate(
        **inputs, **OPTIONS, return_dict_in_generate=True, **{f"output_{name}": True for name in names}
    )
    assert output.sequences.tolist() == greedy
    assert [len(output[name]) for name in names] == [8] * 4
    assert len(output.hidden_states[0]) == 3 and len(output.attentions[0]) == 2
    assert output.past_key_values.get_seq_length() == len(greedy[0]) - 1


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3, "num_return_sequences": 2},
        {"num_beams": 3, "num_return_sequences": 2, "do_sample": True},
        {"num_return_sequences": 2, "do_sample": True},
    ],
    ids=["beams", "beam sampling", "sampling"],
)
def test_sequences_of_a_batch_see_their_own_media(model, inputs, options):
    """Two prompts of different lengths, left-padded: each gives what it gives alone, with the same random numbers."""
    short = {**text_inputs(11, *IMAGE, 14), **image_inputs()}
    batch = {name: torch.cat([inputs[name], short[name]]) for name in ("pixel_values", "image_grid_thw")}
    batch |= {name: value for name, value in inputs.items() if "video" in name}
    length = inputs["input_ids"].shape[1]
    for name, value in (("input_ids", 980), ("attention_mask", 0)):
        padded = torch.nn.functional.pad(short[name], (length - short[name].shape[1], 0), value=value)
        batch[name] = torch.cat([inputs[name], padded])
    options = {**OPTIONS, "output_scores": True, "return_dict_in_generate": True, **options}
    output = model.generate(**batch, **options)
    assert output.sequences.shape == (4, length + 8)
    if "num_beams" in options and not options["do_sample"]:
        for rows, alone in ((output.sequences[:2], inputs), (output.sequences[2:], short)):
            expected = model.generate(**alone, **options).sequences
            assert rows[:, length:].tolist() == expected[:, alone["input_ids"].shape[1] :].tolist()
    else:
        # What was drawn first comes from each prompt's own distribution.
        scores = output.scores[0].view(2, -1, 1000)[:, 0].log_softmax(-1)
        for row, alone in zip(scores, (inputs, short)):
            with torch.no_grad():
                expected = model(**alone).logits[0, -1].log_softmax(-1)
            finite = row.isfinite()  # the likeliest tokens are kept
            torch.testing.assert_close(
                row[finite].log_softmax(-1), expected[finite].log_softmax(-1), atol=1e-4, rtol=1e-4
            )


def test_quantized_cache(model, inputs, greedy):
    pytest.importorskip("optimum.quanto")
    generated = model.generate(
        **inputs, **OPTIONS, cache_implementation="quantized", cache_config={"nbits": 4, "q_group_size": 16}
    )
    length = inputs["input_ids"].shape[1]
    assert generated.shape[1] == length + 8
    assert generated[0, : length + 1].tolist() == greedy[0][: length + 1]


def test_continuous_batching_of_text(model):
    """It takes token ids only: text works, media are refused with the reason."""
    config = GenerationConfig(max_new_tokens=4, do_sample=False, eos_token_id=-1, pad_token_id=980)
    batching = ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=64, use_cuda_graph=False)
    prompts = [[11, 12, 13, 14], [5, 6, 7], [11, *IMAGE]]

    def run(prompts):
        results = model.generate_batch(
            prompts, generation_config=config, continuous_batching_config=batching, progress_bar=False
        )
        return [results[name] for name in sorted(results)]

    for prompt, result in zip(prompts[:2], run(prompts[:2])):
        expected = model.generate(**text_inputs(*prompt), max_new_tokens=4, do_sample=False, eos_token_id=None)
        assert result.generated_tokens == expected[0, len(prompt) :].tolist()
    assert "no image pixels" in run(prompts[2:])[0].error


@pytest.mark.slow
def test_compiled_decoding(model, inputs, greedy):
    compile_config = CompileConfig(fullgraph=True, backend="aot_eager")
    compile_config._compile_all_devices = True
    output = model.generate(**inputs, **OPTIONS, cache_implementation="static", compile_config=compile_config)
    assert output.tolist() == greedy


@pytest.mark.parametrize(
    ("options", "repository"),
    [
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive-search"),
        ({"dola_layers": "low"}, "dola"),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, "group-beam-search"),
        ({"num_beams": 2, "force_words_ids": [[5]]}, "constrained-beam-search"),
    ],
)
def test_strategies_that_left_transformers_say_where_they_are(model, inputs, options, repository):
    with pytest.raises(ValueError, match=f"trust_remote_code=True.*transformers-community/{repository}"):
        model.generate(**inputs, **OPTIONS, **options)


# Assisted decoding


@pytest.mark.parametrize("hidden_size", [64, 32], ids=["same width", "narrower"])
def test_ov2_draft(model, inputs, greedy, tiny_config, hidden_size):
    draft = OV2ForConditionalGeneration(tiny_config(text={"hidden_size": hidden_size, "num_hidden_layers": 1})).eval()
    calls = []
    draft.model.visual.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    assert model.generate(**inputs, **OPTIONS, assistant_model=draft).tolist() == greedy
    assert calls == [16, 32]  # the draft sees the media, once


def test_draft_that_is_the_model_agrees_everywhere(model, inputs, greedy):
    """With the same features in the draft's cache, every proposal is right: two steps of several tokens."""
    draft = OV2ForConditionalGeneration(model.config).eval()
    draft.load_state_dict(model.state_dict())
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    draft.generation_config.num_assistant_tokens = 4
    draft.generation_config.assistant_confidence_threshold = 0
    calls = []
    model.model.language_model.register_forward_hook(lambda *args: calls.append(1))
    assert model.generate(**inputs, **OPTIONS, assistant_model=draft).tolist() == greedy
    assert len(calls) == 2


def test_text_draft(model, inputs, greedy):
    draft = AutoModelForCausalLM.from_config(model.config.text_config).eval()
    assert model.generate(**inputs, **OPTIONS, assistant_model=draft).tolist() == greedy


def test_prompt_lookup(model, inputs, greedy):
    """Copies of the prompt are proposed, its placeholders never."""
    assert model.generate(**inputs, **OPTIONS, prompt_lookup_num_tokens=4).tolist() == greedy


def test_assisted_sampling(model, inputs):
    draft = OV2ForConditionalGeneration(model.config).eval()
    generated = model.generate(**inputs, **{**OPTIONS, "do_sample": True}, assistant_model=draft)
    assert generated.shape[1] == inputs["input_ids"].shape[1] + 8


# Conversations with a growing cache


def second_turn(first, output, *new):
    """Inputs of the whole conversation: all media, and all tokens."""
    return {
        **text_inputs(*output[0].tolist(), *new),
        **{name: torch.cat([first[name], value]) for name, value in video_inputs(4).items()},
        **{name: first[name] for name in ("pixel_values", "image_grid_thw")},
    }


def test_second_turn_with_a_second_video(model, inputs):
    cache = DynamicCache(config=model.config)
    output = model.generate(**inputs, **OPTIONS, past_key_values=cache)
    turn = second_turn(inputs, output, 14, *VIDEO, 15)
    expected = model.generate(**turn, **OPTIONS)
    calls = []
    model.model.visual.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    continued = model.generate(**turn, **OPTIONS, past_key_values=cache)
    assert continued.tolist() == expected.tolist()
    assert calls == [32]  # the new video alone is encoded
    # and again, now with text only
    turn |= text_inputs(*continued[0].tolist(), 16, 17)
    expected = model.generate(**turn, **OPTIONS)
    assert model.generate(**turn, **OPTIONS, past_key_values=cache).tolist() == expected.tolist()


def test_second_turn_with_new_media_only(model, inputs):
    cache = DynamicCache(config=model.config)
    output = model.generate(**inputs, **OPTIONS, past_key_values=cache)
    turn = second_turn(inputs, output, 14, *VIDEO, 15)
    expected = model.generate(**turn, **OPTIONS)
    new = {
        "pixel_values_videos": turn["pixel_values_videos"][32:],
        "video_patch_positions": turn["video_patch_positions"][32:],
        "video_grid_thw": turn["video_grid_thw"][1:],
        "video_window_sizes": turn["video_window_sizes"][1:],
    }
    turn = {name: turn[name] for name in ("input_ids", "attention_mask")}
    assert model.generate(**turn, **new, **OPTIONS, past_key_values=cache).tolist() == expected.tolist()


def test_media_missing_after_the_first_turn(model, inputs):
    cache = DynamicCache(config=model.config)
    output = model.generate(**inputs, **OPTIONS, past_key_values=cache)
    turn = text_inputs(*output[0].tolist(), 14, *VIDEO, 15)
    with pytest.raises(ValueError, match="8 placeholder tokens, but no video pixels"):
        model.generate(**turn, **OPTIONS, past_key_values=cache)
    with pytest.raises(ValueError, match="8 placeholder tokens, but no video pixels"):
        model(input_ids=turn["input_ids"][:, -12:], past_key_values=cache)


def test_media_missing_with_embeddings(model, inputs):
    embeddings = model.get_input_embeddings()(inputs.pop("input_ids"))
    with pytest.raises(ValueError, match="8 placeholder tokens, but no video pixels"):
        model(inputs_embeds=embeddings, **{name: inputs[name] for name in ("pixel_values", "image_grid_thw")})
    merged = embeddings.clone()
    merged[:, 1:] += 0.1  # features have been written already
    model(inputs_embeds=merged)


def test_generated_placeholders_are_no_error(model, inputs):
    """Whatever the model says, also when an assistant checks several tokens at once."""
    bias = torch.zeros(1000)
    bias[991] = 1e4
    model.lm_head.bias = torch.nn.Parameter(bias)
    for options in ({}, {"prompt_lookup_num_tokens": 3}, {"cache_implementation": "static"}):
        assert model.generate(**inputs, **OPTIONS, **options)[0, -8:].tolist() == [991] * 8


@pytest.mark.parametrize("training", [True, False])
def test_advice_about_trl_is_for_training(model, training):
    with pytest.raises(ValueError, match="no image pixels") as error:
        model.train(training)(**text_inputs(11, *IMAGE))
    assert ("TRL" in str(error.value)) == training


def test_training_never_waits_for_a_check(model):
    """Text on an accelerator: a value that was read back would raise on a tensor that has none."""
    with FakeTensorMode(), torch.device("cuda"):
        fake = OV2ForConditionalGeneration(model.config).train()
        ids = torch.randint(5, 900, (2, 8))
        loss = fake(input_ids=ids, labels=ids).loss
    assert loss.device.type == "cuda"
