"""What a model says to a few prompts, greedily: to be read by people, beside what another one says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from arabic_llm.data.rows import Message
from arabic_llm.data.tokens import chat
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.evaluation import generating

MOST = 64  # tokens of an answer
CUT = " …"  # at the end of an answer that went on


def answers(model: PreTrainedModel, codec: Codec, prompts: Sequence[str]) -> list[str]:
    """Return the likeliest answer to each prompt, each asked alone."""
    model.eval()
    with generating.neutral(model), torch.inference_mode():
        return [_answer(model, codec, prompt) for prompt in prompts]


def _answer(model: PreTrainedModel, codec: Codec, prompt: str) -> str:
    asked = torch.tensor([chat.encode_prompt(codec, [Message("user", prompt)])], device=model.device)
    said = model.generate(
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        do_sample=False,
        max_new_tokens=MOST,
        eos_token_id=[codec.stop_id, codec.end_of_text_id],
        pad_token_id=codec.tokenizer.pad_token_id,
    )[0, asked.shape[1] :].tolist()
    has_ended = {codec.stop_id, codec.end_of_text_id} & {*said}
    words: str = codec.tokenizer.decode(said, skip_special_tokens=True).strip()
    return words if has_ended else words + CUT
