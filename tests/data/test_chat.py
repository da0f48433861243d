"""Ids and labels, on every template we name: answers and their stop tokens are learned, nothing else is."""

from dataclasses import replace

import pytest
from conftest import DATA, model_config, needs_data
from tokenizers_like import NAMES, codec_of

from arabic_llm.config.data import Overflow
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.tokens import chat, chat_template
from arabic_llm.data.tokens.chat import IGNORED
from arabic_llm.errors import ConfigError

SINGLE = (Message("user", "ما عاصمة مصر؟"), Message("assistant", "القاهرة"))
MULTI = (
    Message("system", "أنت معلم صبور."),
    Message("user", "ما جمع كتاب؟"),
    Message("assistant", "كتب"),
    Message("user", "وكم ٣ + ٤؟"),
    Message("assistant", "٧"),
)
CONVERSATIONS = {"single": SINGLE, "multi": MULTI}
BOS = {"llama2_7b": "<s>", "llama3_8b": "<|begin_of_text|>", "gemma2_2b": "<bos>", "glm4_9b": "<sop>"}


def encoded(name, messages, max_length=10_000, overflow=Overflow.drop):
    rows = chat.encode(codec_of(name), Row("r", messages), max_length, overflow)
    assert isinstance(rows, list), rows
    return rows[0]


def learned(name, row):
    decode = codec_of(name).tokenizer.decode
    return [decode(ids) for supervised, ids in chat.spans(row) if supervised]


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_only_answers_and_their_stop_tokens_are_learned(name, messages):
    row = encoded(name, messages)
    stop = model_config(name).stop_token
    answers = [m.content for m in messages if m.role == "assistant"]
    said = [text.removesuffix(stop).strip() for text in learned(name, row)]
    assert said == answers
    assert all(text.endswith(stop) for text in learned(name, row))
    assert chat.stops(codec_of(name), row)


@pytest.mark.parametrize("name", NAMES)
def test_a_label_is_the_token_itself_or_ignored(name):
    row = encoded(name, MULTI)
    assert len(row.labels) == len(row.input_ids)
    assert all(label in (token, IGNORED) for token, label in zip(row.input_ids, row.labels, strict=True))


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_bos_where_the_model_has_one_and_one_a_turn_in_llama2(name, messages):
    turns = sum(message.role == "user" for message in messages)
    ids = encoded(name, messages).input_ids
    vocabulary = codec_of(name).tokenizer.get_vocab()
    assert ids.count(vocabulary.get(BOS.get(name, ""), -1)) == (
        turns if name == "llama2_7b" else int(name in BOS)
    )


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_at_inference_is_the_start_of_the_row_in_training(name, messages):
    codec = codec_of(name)
    prompt = chat_template.render(codec, messages[:-1], add_generation_prompt=True)
    ids = codec.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    row = encoded(name, messages)
    assert row.input_ids[: len(ids)] == ids
    last_answer = [ids for supervised, ids in chat.spans(row) if supervised][-1]
    tail = row.input_ids[len(ids) :]
    assert tail[: len(last_answer)] == last_answer


@pytest.mark.parametrize("name", NAMES)
def test_pad_stop_and_end_of_text_are_tokens_and_pad_is_never_the_stop(name):
    codec = codec_of(name)
    assert codec.tokenizer.pad_token_id != codec.stop_id == codec.tokenizer.eos_token_id


RENDERED = {
    "tiny": "<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n<|im_start|>assistant\nالقاهرة<|im_end|>\n",
    "qwen2_7b": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "ما عاصمة مصر؟<|im_end|>\n<|im_start|>assistant\nالقاهرة<|im_end|>\n",
    "qwen2_5_7b": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\n<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n<|im_start|>assistant\nالقاهرة<|im_end|>\n",
    "smollm2_135m": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging"
    " Face<|im_end|>\n<|im_start|>user\n"
    "ما عاصمة مصر؟<|im_end|>\n<|im_start|>assistant\nالقاهرة<|im_end|>\n",
    "llama2_7b": "<s>[INST] ما عاصمة مصر؟ [/INST] القاهرة </s>",
    "llama3_8b": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
    "gemma2_2b": "<bos><start_of_turn>user\nما عاصمة مصر؟<end_of_turn>\n"
    "<start_of_turn>model\nالقاهرة<end_of_turn>\n",
    "glm4_9b": "[gMASK]<sop><|user|>\nما عاصمة مصر؟<|assistant|>\nالقاهرة<|user|>",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_template_renders_what_its_model_was_made_for(name):
    assert chat_template.render(codec_of(name), SINGLE, add_generation_prompt=False) == RENDERED[name]


def test_glm_does_not_open_a_turn_that_its_stop_token_opened():
    text = chat_template.render(codec_of("glm4_9b"), MULTI, add_generation_prompt=False)
    assert "كتب<|user|>\nوكم" in text
    assert text.count("<|user|>") == 3


def test_gemma_and_llama2_put_the_system_message_into_the_first_turn():
    assert "<start_of_turn>user\nأنت معلم صبور.\n\nما جمع" in chat_template.render(
        codec_of("gemma2_2b"), MULTI, add_generation_prompt=False
    )
    assert "[INST] <<SYS>>\nأنت معلم صبور.\n<</SYS>>\n\nما جمع" in chat_template.render(
        codec_of("llama2_7b"), MULTI, add_generation_prompt=False
    )


@needs_data
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_our_qwen2_template_is_the_tokenizers_own_but_for_its_marks(messages):
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "qwen2")
    plain = [{"role": m.role, "content": m.content} for m in messages]
    assert own.apply_chat_template(plain, tokenize=False) == chat_template.render(
        codec_of("qwen2_7b"), messages, add_generation_prompt=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_row_too_long_is_dropped_with_its_reason(name):
    long = (Message("user", "كلمة " * 300), Message("assistant", "نعم"))
    result = chat.encode(codec_of(name), Row("r", long), 100, Overflow.drop)
    assert result == "longer than task.max_length=100"


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_row_fits_keeps_its_answer_and_its_stop_token(name):
    long = (Message("user", "كلمة " * 300 + "ما عاصمة مصر؟"), Message("assistant", "القاهرة"))
    row = encoded(name, long, 160, Overflow.cut)
    assert row.was_cut
    assert len(row.input_ids) <= 160
    assert [t.removesuffix(model_config(name).stop_token).strip() for t in learned(name, row)] == [
        "القاهرة"
    ]
    assert "مصر؟" in codec_of(name).tokenizer.decode(
        row.input_ids
    )  # the end of the question is what is kept


def test_cutting_a_conversation_leaves_out_early_turns_first():
    whole = encoded("tiny", MULTI)
    row = encoded("tiny", MULTI, len(whole.input_ids) - 1, Overflow.cut)
    assert learned("tiny", row) == ["٧<|im_end|>"]
    assert "معلم" in codec_of("tiny").tokenizer.decode(row.input_ids)


def test_an_answer_is_never_cut():
    long = (Message("user", "؟"), Message("assistant", "كلمة " * 300))
    assert "answer alone fills" in str(chat.encode(codec_of("tiny"), Row("r", long), 50, Overflow.cut))


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_split_and_none_of_it_lost(name):
    codec = codec_of(name)
    text = "شرح المعلم الدرس ثم كتب الأسئلة على السبورة. " * 20
    rows = chat.encode(codec, Row("doc", text=text), 50, Overflow.drop)
    body = codec.tokenizer(text, add_special_tokens=False)["input_ids"]
    learnt = [label for row in rows for label in row.labels if label != IGNORED]
    assert learnt == [*body, codec.end_of_text_id]
    assert all(len(row.input_ids) <= 50 for row in rows)
    assert [row.kind for row in rows] == ["part"] * (len(rows) - 1) + ["text"]
    assert all(chat.stops(codec, row) for row in rows)


def test_a_control_token_in_the_text_is_no_word():
    row = Row("r", (Message("user", "قل <|im_end|> من فضلك"), Message("assistant", "لا")))
    assert chat.encode(codec_of("tiny"), row, 100, Overflow.drop) == "control token <|im_end|> in the text"


def test_a_template_that_forgets_the_stop_token_is_caught(tmp_path):
    template = tmp_path / "bad.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>"
        "{% else %}{{ m.content }}<|im_end|>{% endif %}"
        "\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = model_config("tiny")
    config.chat_template = str(template)
    codec = chat_template.prepare(codec_of("tiny").tokenizer, config)
    row = chat.encode(codec, Row("r", SINGLE), 100, Overflow.drop)[0]
    chat_template.prepare(
        codec.tokenizer, model_config("tiny")
    )  # the tokenizer is shared: put its template back
    assert not chat.stops(codec, row)


def test_a_template_without_marks_is_refused(tmp_path):
    template = tmp_path / "plain.jinja"
    template.write_text("{{ messages[0].content }}")
    with pytest.raises(ConfigError, match="endgeneration"):
        chat_template.template_text(str(template))


def test_what_jinja_says_of_a_template_is_one_line_with_its_place():
    codec = codec_of("tiny")
    broken = replace(codec, template="{% generation %}\n{% for m in messages %}{{ m.content }")
    with pytest.raises(ConfigError, match=r"^model\.chat_template=chatml: line 2: unexpected '}'$"):
        chat_template.render(broken, SINGLE, add_generation_prompt=False)
    refusing = replace(codec, template="{{ raise_exception('no system turn') }}")
    with pytest.raises(ConfigError, match=r"^model\.chat_template=chatml: no system turn$"):
        chat_template.render(refusing, SINGLE, add_generation_prompt=False)


def test_a_template_that_is_no_text_is_refused(tmp_path):
    no_text = tmp_path / "latin.jinja"
    no_text.write_bytes("{% generation %}\xe9{% endgeneration %}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.jinja: not UTF-8"):
        chat_template.template_text(str(no_text))
    endless = tmp_path / "large.jinja"
    with endless.open("wb") as file:
        file.truncate(2**40)  # sparse: takes no room
    with pytest.raises(ConfigError, match=r"large\.jinja: .* bytes are no chat template"):
        chat_template.template_text(str(endless))


def test_a_template_that_does_not_exist_names_those_that_do():
    with pytest.raises(ConfigError, match="there are: acegpt, chatml, chatml_eos, gemma2, glm4, llama2"):
        chat_template.template_text("alpaca")


def test_a_token_the_tokenizer_lacks_is_named():
    config = model_config("tiny")
    config.stop_token = "</s>"
    with pytest.raises(ConfigError, match="model.stop_token: the tokenizer of tiny has no token '</s>'"):
        chat_template.prepare(codec_of("tiny").tokenizer, config)


def test_a_stop_token_without_an_embedding_is_refused():
    config = model_config("tiny")
    config.architecture.vocab_size = stop = codec_of("tiny").stop_id
    said = rf"model.stop_token: '<\|im_end\|>' is token {stop} of .* the model has embeddings of {stop} "
    with pytest.raises(ConfigError, match=said):
        chat_template.prepare(codec_of("tiny").tokenizer, config)
