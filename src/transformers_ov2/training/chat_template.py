# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The chat template of training, which marks what the assistant says."""

from jinja2 import Environment, TemplateError, meta
from transformers import ProcessorMixin
from transformers.utils.chat_template_utils import render_jinja_template

from ..processing_ov2 import CHAT_TEMPLATE, has_generation_markers


# What `CHAT_TEMPLATE` takes, and functions that templates may call.
_VARIABLES = {"messages", "add_generation_prompt", "add_vision_id", "raise_exception", "strftime_now"}
# Conversations on which a template must agree with `CHAT_TEMPLATE` before it is replaced by it.
_PROBES = (
    [{"role": "user", "content": "a"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a\n"}]}],
    [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": "i"},
                {"type": "text", "text": " and "},
                {"type": "video", "video": "v"},
                {"type": "image", "image": "i"},
                {"type": "text", "text": "q"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ],
)


def set_training_chat_template(processor: ProcessorMixin) -> None:
    """
    Give a processor a chat template with `{% generation %}` markers around what the assistant says, which
    `assistant_only_loss` of TRL and `return_assistant_tokens_mask` need. The released checkpoint's own has none.

    A template that has them stays. Any other is replaced by [`~processing_ov2.CHAT_TEMPLATE`] when that renders the
    same and nothing is lost.

    Args:
        processor (`OV2Processor`): its `chat_template` is set, and saved with it from then on.

    Raises:
        ValueError: the processor's template renders conversations differently, or knows more, such as tools.
    """
    named = processor.chat_template if isinstance(processor.chat_template, dict) else None
    template = processor.chat_template if named is None else named["default"]
    if has_generation_markers(template):
        return
    advice = "Put `{% generation %}` and `{% endgeneration %}` around what the assistant says into it yourself."
    try:
        environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        variables = meta.find_undeclared_variables(environment.parse(template)) - set(environment.globals)
        same = all(
            _render(probe, template, prompt) == _render(probe, CHAT_TEMPLATE, prompt)
            for probe in _PROBES
            for prompt in (False, True)
        )
    except TemplateError as error:
        raise ValueError(f"The processor's chat template cannot be rendered ({error}). {advice}") from error
    if lost := sorted(variables - _VARIABLES):
        raise ValueError(f"The processor's chat template also takes {', '.join(lost)}, which would be lost. {advice}")
    if not same:
        raise ValueError(f"The processor's chat template renders conversations in a way of its own. {advice}")
    processor.chat_template = CHAT_TEMPLATE if named is None else {**named, "default": CHAT_TEMPLATE}


def _render(conversation: list[dict], template: str, add_generation_prompt: bool) -> str:
    return render_jinja_template([conversation], chat_template=template, add_generation_prompt=add_generation_prompt)[
        0
    ][0]


__all__ = ["set_training_chat_template"]
