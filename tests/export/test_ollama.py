"""The Go template of a Modelfile writes conversations as the model was trained on them."""

import pytest
from conftest import model_config
from tokenizers_like import NAMES, codec_of

from arabic_llm.data.tokens import chat, chat_template
from arabic_llm.errors import ConfigError
from arabic_llm.export import beside_weights, gguf_vocabulary, go_template, ollama_template

TALK = (
    ("user", '\u0645\u0631\u062d\u0628\u0627 {{ .x }} "q" \\ \u4f60\u597d'),
    ("assistant", "line\nline"),
    ("user", "and <b>?"),
)


def turns(*said):
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("system", [False, True], ids=["plain", "system"])
def test_the_template_of_every_model_writes_in_go_what_it_writes_in_jinja(name, system):
    codec = codec_of(name)
    opens = gguf_vocabulary.opens_with(codec.tokenizer)
    template = ollama_template.template_of(codec, opens_with_bos=opens)
    talk = turns(*([("system", "be brief")] if system else []), *TALK)
    messages = tuple(chat.Message(turn["role"], turn["content"]) for turn in talk)
    ours = beside_weights.written(codec, messages, codec.template, True)
    assert ours.endswith(go_template.written(template, talk))
    assert ours.removesuffix(go_template.written(template, talk)) == (
        codec.tokenizer.bos_token if opens else ""
    )


def test_a_modelfile_has_its_file_every_stop_and_the_length_of_a_conversation():
    assert ollama_template.modelfile("a.gguf", "{{ .x }}", ["<|im_end|>", 'a"b'], 4096) == (
        'FROM ./a.gguf\nTEMPLATE """{{ .x }}"""\nPARAMETER stop "<|im_end|>"\nPARAMETER stop "a\\"b"\n'
        "PARAMETER num_ctx 4096\n"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("message.content + '<|im_end|>\\n'", "message.content | upper + '<|im_end|>\\n'"),
            "would write a question",
        ),
        (
            ("message.role + '\\n'", "message.role + loop.index | string + '\\n'"),
            "would write several turns as",
        ),
    ],
    ids=["upper case", "numbers"],
)
def test_a_template_that_is_no_frame_is_refused_with_what_ollama_would_write(
    change, said, tmp_path, tiny_codec
):
    text = tiny_codec.template.replace(*change)
    assert text != tiny_codec.template
    (tmp_path / "own.jinja").write_text(text)
    config = model_config("tiny")
    config.chat_template = str(tmp_path / "own.jinja")
    codec = chat_template.prepare(tiny_codec.tokenizer, config)
    with pytest.raises(ConfigError, match=rf"own.jinja: Ollama {said}"):
        ollama_template.template_of(codec, opens_with_bos=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_template_without_marks_writes_the_same_and_has_none(name):
    codec = codec_of(name)
    plain = beside_weights.template_of(codec)
    assert "generation %}" not in plain
    assert "generation" in codec.template
    for messages in beside_weights.CONVERSATIONS.values():
        for asked in (True, False):
            ours, its = (
                beside_weights.written(codec, messages, text, asked) for text in (codec.template, plain)
            )
            assert ours == its


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ('a {{- " b\\n" -}} c', "a b\nc"),
        ("{{ range $i, $_ := .Messages }}{{ $i }}{{ .Role }},{{ end }}", "0user,1assistant,"),
        ('{{ range $i, $m := .Messages }}{{ if eq $m.Role "user" }}U{{ else }}A{{ end }}{{ end }}', "UA"),
        (
            '{{ range $i, $_ := .Messages }}{{ if and (eq $i 0) (ne .Role "x") }}1'
            '{{ else if eq .Role "assistant" }}2{{ else }}3{{ end }}{{ end }}',
            "12",
        ),
        ("{{ range $i, $_ := .Messages }}{{ (eq $i 1) }} {{ end }}", "False True "),
    ],
)
def test_what_is_evaluated_of_go_s_templates(template, written):
    assert go_template.written(template, turns(("user", "a"), ("assistant", "b"))) == written


def test_like_messages_in_a_row_are_one_as_in_ollama():
    template = "{{ range $i, $_ := .Messages }}[{{ .Content }}]{{ end }}"
    assert go_template.written(template, turns(("user", "a"), ("user", "b"))) == "[a\n\nb]"


@pytest.mark.parametrize("template", ["{{ if eq 1 1 }}x", "{{ end }}", "{{ printf .x }}", "{{ eq 1 1 ) }}"])
def test_what_is_not_known_of_go_s_templates_is_refused(template):
    with pytest.raises(ConfigError, match="Go template"):
        go_template.written(template, turns(("user", "a")))
