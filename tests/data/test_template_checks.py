"""A template that is not the tokenizer's own is named; no row is learned otherwise than it is asked."""

from dataclasses import replace

import pytest
from conftest import model_config
from markupsafe import escape
from tokenizers_like import codec_of

from arabic_llm.config.data import DataConfig, Overflow
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.tokens import chat, chat_template, lint, token_rows
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.models import bases, tokenization

OPEN, CLOSE = "<|im_start|>", "<|im_end|>"
TAUGHT = "{{ m.content }}<|im_end|>"
USER, ASSISTANT = "<|im_start|>user\n", "<|im_start|>assistant\n"


def template(
    answer="{{ m.content }}<|im_end|>", *, system="", header=ASSISTANT, asked=ASSISTANT, after="\n"
):
    """Return ChatML with something else in one place."""
    return (
        "{%- for m in messages %}{%- if m.role == 'system' %}" + system + "{%- elif m.role == 'user' %}"
        "{{- '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}{%- else %}"
        f"{{{{- '{header}' }}}}{{% generation %}}{answer}{{% endgeneration %}}{{{{- '{after}' }}}}"
        f"{{%- endif %}}{{%- endfor %}}{{%- if add_generation_prompt %}}{{{{- '{asked}' }}}}{{%- endif %}}"
    )


def talks(*said, system=""):
    rules = [Message("system", system)] if system else []
    roles = ("user", "assistant") * len(said)
    return (*rules, *(Message(role, text) for role, text in zip(roles, said, strict=False)))


def reason(text, messages):
    found = chat.encode(replace(codec_of("tiny"), template=text), Row("r", messages), 10_000, Overflow.drop)
    return found if isinstance(found, str) else None


THINKING = talks(
    *("كم ثلاثة في أربعة؟", "<think>\nأربعة ثلاث مرات\n</think>\n\nاثنا عشر"),
    *("وفي خمسة؟", "<think>\nخمسة ثلاث مرات\n</think>\n\nخمسة عشر"),
)
PLAIN = talks("كم ثلاثة في أربعة؟", "اثنا عشر", "وفي خمسة؟", "خمسة عشر")
LOST = "the chat template does not write what the {} says as it stands"
OTHER = "the chat template teaches something else than the answer"
ASKED = "the chat template asks for an answer otherwise than it teaches one"
THOUGHT = "<think>\n\n</think>\n\n"
ONLY_LAST = "{{ m.content.split('</think>')[-1] if not loop.last else m.content }}<|im_end|>"
QWEN3 = f"{{{{ '{THOUGHT}' if loop.last and '<think>' not in m.content }}}}" + TAUGHT

NO_THINK = template().replace(
    "m.content + '<|", "m.content + (' /no_think' if loop.revindex <= 2 else '') + '<|"
)


@pytest.mark.parametrize(
    ("text", "messages", "why"),
    [
        (template(), PLAIN, None),
        (template(), THINKING, None),
        (template(asked=ASSISTANT + THOUGHT), PLAIN, ASKED),  # what an answer never follows in training
        (template(asked=ASSISTANT + THOUGHT), PLAIN[:2], ASKED),
        (template(header=ASSISTANT + THOUGHT, asked=ASSISTANT + THOUGHT), PLAIN, None),
        (template(asked=""), PLAIN, ASKED),  # asked without the header, which is not learned either
        (template(header="", answer=ASSISTANT + TAUGHT), PLAIN, ASKED),  # the header is learned
        (template(header=OPEN, answer="assistant\n" + TAUGHT), PLAIN[:2], ASKED),
        (template(answer=ONLY_LAST), PLAIN, None),
        (template(answer=ONLY_LAST), THINKING[:2], None),
        (template(answer=ONLY_LAST), THINKING, None),  # each answer by itself
        (template(answer=QWEN3), PLAIN, None),  # so too: an empty thought before the last answer alone
        (template(answer=QWEN3), PLAIN[:2], None),
        (template(answer=QWEN3), THINKING[:2], None),
        (template(answer=QWEN3), THINKING, None),  # each brings its own
        (template(answer=THOUGHT + TAUGHT), PLAIN, None),
        (template(answer=THOUGHT + TAUGHT), THINKING, OTHER),  # two thoughts
        (template(answer="{{ m.content }}{% if loop.last %}<|im_end|>{% endif %}"), PLAIN, None),
        (template(answer="{{ m.content }} (نهاية {{ loop.index }})<|im_end|>"), PLAIN, OTHER),
        (
            template(answer="{{ m.content.replace('لا', 'نعم') }}<|im_end|>"),
            talks("?", "لا"),
            OTHER,
        ),
        (template(answer="{{ m.content[:40] }}<|im_end|>"), PLAIN, None),
        (
            template(answer="{{ m.content[:40] }}<|im_end|>"),
            talks("?", "كلمة " * 9),
            OTHER,
        ),
        (template(), talks("?", "!", system="كن موجزا"), LOST.format("system")),
        (
            template().replace("m.content +", "m.content[:9] +"),
            talks("كلمة " * 9, "!"),
            LOST.format("user"),
        ),
        (template(system="{{ m.content }}"), talks("?", "!", system="كن موجزا"), None),
        (
            template(system="{{ raise_exception('System role not supported') }}"),
            talks("?", "!", system="كن موجزا"),
            "the chat template refuses it: System role not supported",
        ),
        (
            template(answer="{% if loop.index > 2 %}{{ raise_exception('one turn') }}{% endif %}" + TAUGHT),
            PLAIN,
            "the chat template refuses it: one turn",
        ),
        ("{% if messages | length > 3 %}x{% endif %}" + template(), PLAIN, ASKED),
        ("{{ messages | length }}" + template(), PLAIN[:2], ASKED),
        ("{{ messages[-1].content }}" + template(), PLAIN[:2], ASKED),
        (NO_THINK, PLAIN[:2], None),
        (NO_THINK, PLAIN, None),  # a mark on the last question alone: each is taught where it is the last
        (NO_THINK, PLAIN * 30, None),
        (template(), PLAIN * 30, None),
    ],
)
def test_a_row_that_its_template_would_teach_otherwise_than_it_is_asked_is_left_out(text, messages, why):
    assert reason(text, messages) == why


def learned(codec, rows):
    """Return what each row teaches: (what stands before it, what is learned), in words."""
    runs = [[codec.tokenizer.decode(ids) for _, ids in chat.spans(row)] for row in rows]
    return [(before, said) for before, said, _ in runs]


@pytest.mark.parametrize("answer", [ONLY_LAST, "{{ m.content if loop.last else '...' }}<|im_end|>"])
def test_answers_that_a_template_writes_otherwise_later_are_learned_one_by_one_as_each_is_asked(answer):
    codec = replace(codec_of("tiny"), template=template(answer=answer))
    encoded = token_rows.encode(codec, [Row("f:1", THINKING)], DataConfig("local"), 1000, None)
    answers = [place for place, message in enumerate(THINKING) if message.role == "assistant"]
    assert learned(codec, encoded.rows) == [
        (
            chat_template.render(codec, THINKING[:place], add_generation_prompt=True),
            f"{THINKING[place].content}<|im_end|>",
        )
        for place in answers
    ]
    assert encoded.ledger.changed == {"learned answer by answer, as the chat template asks for each": 1}


def test_of_answers_learned_one_by_one_those_that_are_not_learned_are_read_alone():
    first, thought, *others = THINKING
    codec = replace(codec_of("tiny"), template=template(answer=ONLY_LAST))
    messages = (first, replace(thought, supervised=False), *others)
    found = chat.encode(codec, Row("r", (*messages, *PLAIN[:2], *THINKING[2:])), 1000, Overflow.drop)
    assert [said for _, said in learned(codec, found)] == [
        f"{said.content}<|im_end|>" for said in (others[-1], PLAIN[1], THINKING[3])
    ]
    assert len(chat.encode(codec, Row("r", messages), 1000, Overflow.drop)) == 1


def test_answers_learned_one_by_one_are_held_to_the_longest_row():
    codec = replace(codec_of("tiny"), template=template(answer=ONLY_LAST))
    row = Row("r", THINKING)
    whole = chat.encode(codec, row, 1000, Overflow.drop)
    longest = max(len(one.input_ids) for one in whole)
    why = f"longer than task.max_length={longest - 1}"
    assert chat.encode(codec, row, longest - 1, Overflow.drop) == why
    encoded = token_rows.encode(codec, [row], DataConfig("local"), longest - 1, None)
    assert encoded.too_long == [longest]
    cut = chat.encode(codec, row, longest - 1, Overflow.cut)
    assert [one.was_cut for one in cut] == [len(one.input_ids) == longest for one in whole]


def test_a_cut_row_is_held_to_the_same():
    codec = replace(codec_of("tiny"), template=template(asked=ASSISTANT + THOUGHT))
    row = Row("r", talks("كلمة " * 300, "نعم"))
    assert chat.encode(codec, row, 100, Overflow.cut) == ASKED
    codec = codec_of("tiny")
    assert not isinstance(chat.encode(codec, row, 100, Overflow.cut), str)


def test_rows_lost_to_a_template_are_refused_in_a_line_whose_cure_is_another_template():
    codec = replace(codec_of("tiny"), template=template(asked=ASSISTANT + THOUGHT))
    data = DataConfig("local")
    encoded = token_rows.encode(codec, [Row("r", PLAIN)], data, 1000, None)
    with pytest.raises(DataError) as refused:
        token_rows.refuse_great_loss([encoded], data, 1000)
    assert str(refused.value) == (
        f"data=local: 1 of 1 rows would be lost, 1 of them: {ASKED} (the first: r). Choose another"
        " model.chat_template, mend it or those rows, or raise data.max_lost_share (now"
        f" {data.max_lost_share})"
    )


def test_one_row_with_a_system_message_is_left_out_where_the_template_has_no_place_for_it():
    codec = replace(
        codec_of("tiny"), template=template(system="{{ raise_exception('System role not supported') }}")
    )
    rows = [Row(f"f:{n}", talks(f"سؤال {n}", "نعم", system="كن موجزا" * (n == 7))) for n in range(20)]
    encoded = token_rows.encode(codec, rows, DataConfig("local"), 1000, None)
    why = "the chat template refuses it: System role not supported"
    assert encoded.ledger.dropped == {why: 1}
    assert encoded.ledger.examples == {why: ["f:7"]}
    assert len(encoded.rows) == 19


def test_a_template_that_lets_no_answer_be_learned_is_refused():
    empty = template(answer="<|im_end|>")
    with pytest.raises(ConfigError, match=r"its \{% generation %\} holds no answer"):
        reason(empty, PLAIN)
    with pytest.raises(ConfigError, match="holds no answer"):
        reason(
            template().replace("{% generation %}", "{% generation %}{% endgeneration %}{% generation %}"),
            PLAIN,
        )


def prepared(own, tmp_path, text=None):
    """Return the codec of the tiny model, its tokenizer bringing a template of its own."""
    config = model_config("tiny")
    tokenizer = tokenization.load(bases.locate(config, None))
    tokenizer.chat_template = own
    if text is not None:
        config.chat_template = str(tmp_path / "mine.jinja")
        (tmp_path / "mine.jinja").write_text(text, encoding="utf-8")
    return chat_template.prepare(tokenizer, config)


CHATML = chat_template.template_text("chatml")
UNMARKED = CHATML.replace("{%- generation %}", "").replace("{%- endgeneration %}", "")
DEFAULT = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are SmolLM.<|im_end|>\n{% endif %}"
HEAD = "model.chat_template=chatml differs from the tokenizer's own: "
TAIL = ". The model is asked and taught as ours says; for its own, set model.chat_template=tokenizer"


@pytest.mark.parametrize("own", [None, CHATML, UNMARKED, {"default": UNMARKED, "tool_use": "x"}])
def test_a_template_that_writes_what_the_tokenizers_own_does_is_not_spoken_of(own, tmp_path):
    assert prepared(own, tmp_path).notes == ()


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (
            DEFAULT + UNMARKED,
            r"for a question that one has 'system\nYou are SmolLM.<|im_end|>\n<|im_start|>',"
            " ours has nothing there",
        ),
        (
            {"default": DEFAULT + UNMARKED},
            r"for a question that one has 'system\nYou are SmolLM.<|im_end|>\n<|im_start|>',"
            " ours has nothing there",
        ),
        (
            UNMARKED.replace("message.content", "message.content | trim"),
            "for spaces around a question that one has 'question 7351', ours has '  question 7351  '",
        ),
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + UNMARKED,
            "for a system message that one refuses it, ours writes it",
        ),
        (UNMARKED + "{{ broken", f"for a question that one refuses it, ours writes it{TAIL}"),
        (
            UNMARKED.replace("<|im_end|>", "</s>"),
            "for a question that one has '</s>', ours has '<|im_end|>'",
        ),
    ],
)
def test_what_the_tokenizers_own_template_does_otherwise_is_said_in_a_line(own, said, tmp_path):
    (note,) = prepared(own, tmp_path).notes
    assert note.startswith(HEAD + said)
    assert note.endswith(TAIL)
    assert "\n" not in note


def test_a_default_system_message_that_ours_puts_in_is_said(tmp_path):
    (note,) = prepared(UNMARKED, tmp_path, DEFAULT + CHATML).notes
    assert "that one has nothing there, ours has 'system\\nYou are SmolLM." in note


def test_a_template_that_no_row_can_be_learned_with_is_said_to_be_so(tmp_path):
    notes = prepared(None, tmp_path, template(asked=ASSISTANT + THOUGHT)).notes
    name = tmp_path / "mine.jinja"
    assert notes == (
        f"model.chat_template={name}: in several turns {ASKED}; training leaves such rows out",
    )


def test_a_template_whose_answers_are_learned_one_by_one_is_said_to_be_so(tmp_path):
    notes = prepared(None, tmp_path, NO_THINK).notes
    name = tmp_path / "mine.jinja"
    said = f"model.chat_template={name}: in several turns {ASKED}; training learns each of their answers"
    assert [note for note in notes if "several turns" in note] == [f"{said} by itself"]


def test_an_adapter_that_was_trained_in_another_template_is_named(tmp_path):
    codec, folder = codec_of("tiny"), str(tmp_path)
    assert chat_template.notes(codec, "chatml", None) == chat_template.notes(codec, "chatml", folder) == ()
    for same in (CHATML, UNMARKED):
        (tmp_path / "chat_template.jinja").write_text(same, encoding="utf-8")
        assert chat_template.notes(codec, "chatml", folder) == ()
    (tmp_path / "chat_template.jinja").write_text(DEFAULT + CHATML, encoding="utf-8")
    assert chat_template.notes(codec, "chatml", folder) == (
        f"model.chat_template=chatml differs from the one that {folder} was trained in: for a question that"
        " one has 'system\\nYou are SmolLM.<|im_end|>\\n<|im_start|>', ours has nothing there. It is"
        " asked as ours says; to ask as it was taught, set"
        f" model.chat_template={folder}/chat_template.jinja",
    )


def test_what_is_said_of_a_template_stands_with_the_counts_of_a_run(tmp_path):
    codec = prepared(DEFAULT + UNMARKED, tmp_path)
    rows = [Row("r", PLAIN)]
    encoded = token_rows.encode(codec, rows, DataConfig("local"), 1000, None)
    seen = lint.lint(codec, rows, encoded, set())
    assert seen.as_dict()["template_notes"] == codec.notes != ()


def inspected(text, program, tmp_path):
    """Return what task=inspect says of nine rows in a template, and its page."""
    (tmp_path / "mine.jinja").write_text(text, encoding="utf-8")
    (tmp_path / "my.jsonl").write_text('{"prompt": "\u061f", "response": "!"}\n' * 9, encoding="utf-8")
    status, said = program(
        *("task=inspect", "data=local", "data.path=my.jsonl", "data.dedup=false"),
        *("model.chat_template=mine.jinja", "hydra.run.dir=mine"),
    )
    assert status == 0, said
    return said, (tmp_path / "mine" / "inspection.html").read_text(encoding="utf-8")


def test_inspect_says_that_its_template_is_another_on_the_terminal_and_on_its_page(program, tmp_path):
    said, page = inspected(DEFAULT + CHATML, program, tmp_path)
    (line,) = (line for line in said.splitlines() if line.startswith(HEAD.replace("chatml", "mine.jinja")))
    assert "ours has 'system\\nYou are SmolLM.<|im_end|>\\n<|im_start|>'." in line
    assert str(escape(line)) in page


def test_inspect_shows_why_a_template_teaches_no_row(program, tmp_path):
    said, page = inspected(template(asked=ASSISTANT + THOUGHT), program, tmp_path)
    assert (
        "training will refuse these rows: data=local: 9 of 9 rows would be lost, 9 of them:"
        f" {ASKED} (the first: my.jsonl:1)." in said
    )
    assert f"my.jsonl:1: {ASKED}" in said
    assert ASKED in page
