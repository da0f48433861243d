"""A chat template of others ends, in time and in memory, and whatever it does wrong is said in one line."""

import resource
import time

import pytest

from arabic_llm import limits
from arabic_llm.data.tokens import rendering
from arabic_llm.errors import ConfigError

CHAT = [{"role": "user", "content": "ما عاصمة مصر؟"}, {"role": "assistant", "content": "القاهرة"}]
SPACE = "{% set n = namespace(x=3, y='aa') %}{% for i in range(60) %}"
NUMBERS = "{% set r = range(99999) %}"
ENDLESS = {
    "loops in loops": NUMBERS
    + "{% for i in r %}{% for j in r %}{% for k in r %}{% endfor %}{% endfor %}{% endfor %}",
    "a large product": SPACE + "{% set n.x = n.x * n.x %}{% endfor %}",
    "only with this content": "{% if 'مصر' in messages[0].content %}"
    + NUMBERS
    + "{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}{% endif %}",
}
LARGE = {
    "a text times": "{{ 'a' * 100000000000 }}",
    "of the content": "{{ messages[0].content * 100000000000 }}",
    "twice itself": SPACE + "{% set n.y = n.y ~ n.y %}{% endfor %}",
    "centred": "{{ 'a'.center(100000000000) }}",
    "padded": "{{ '%100000000000d'|format(1) }}",
    "formatted": "{{ '{:100000000000}'.format(1) }}",
    "lists": "{% set x = [1] * 100000000000 %}",
    "replaced": "{{ ('a' * 100000).replace('a', 'a' * 100000) }}",
}
WRONG = {
    "{% if %}": "line 1: Expected an expression",
    "{% for m in messages %}": "line 1: Unexpected end of template",
    "{{ nothing.at.all }}": "'nothing' is undefined",
    "{{ ['اجب', 'قل'] | random }}": "draws at random",
    "{{ [['a', 'b']] | map('random') | join }}": "draws at random",
    "{{ lipsum(n=1) }}": "draws at random",
    "{{ messages[7]['content'] }}": "has no element 7",
    "{{ 1 + 'a' }}": "TypeError: unsupported operand",
    "{{ 1 / 0 }}": "ZeroDivisionError: division by zero",
    "{{ 'a'.encode('no') }}": "LookupError: unknown encoding: no",
    "{{ 'a'[::0] }}": "ValueError: slice step cannot be zero",
    "{{ 'a'|no_filter }}": "No filter named 'no_filter'",
    "{% include 'x' %}": "TypeError: no loader",
    "{{ ''.__class__.__mro__ }}": "access to attribute '__class__'",
    "{{ raise_exception('no\nsystem') }}": r"no\nsystem",
    "{% break %}": "SyntaxError: 'break' outside loop",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}": "nested too deep, or it calls itself",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}": "nested too deep",
    "{% for i in [1] %}" * 30 + "{% endfor %}" * 30: "SyntaxError: too many statically nested blocks",
    "{{ '\\ud800' }}": "UnicodeEncodeError",
    "{{ 'a' * 9000000 }}": "makes 9,000,000 characters of a conversation of 20",
}


def rendered(template):
    return rendering.rendered(template, "mine.jinja", CHAT, {"eos_token": "<|im_end|>"})


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_template_that_does_not_end_is_stopped(kind, monkeypatch):
    monkeypatch.setattr(rendering, "_CPU_SECONDS", 0.2)
    before = time.process_time()
    with pytest.raises(ConfigError, match=r"^model\.chat_template=mine\.jinja: does not end") as said:
        rendered(ENDLESS[kind])
    assert "\n" not in str(said.value)
    assert time.process_time() - before < 5


@pytest.mark.parametrize("kind", LARGE)
def test_a_template_that_explodes_gets_no_more_memory_than_it_may_have(kind, monkeypatch):
    monkeypatch.setattr(rendering, "_BYTES", 2**26)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=r"mine\.jinja: a conversation took more memory"):
        rendered(LARGE[kind])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * 2**16  # KiB
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY  # as it was


@pytest.mark.parametrize("template", WRONG, ids=list(map(str, range(len(WRONG)))))
def test_whatever_a_template_does_wrong_is_one_line_that_names_it(template):
    with pytest.raises(ConfigError) as said:
        rendered(template)
    assert str(said.value).startswith("model.chat_template=mine.jinja:")
    assert WRONG[template] in str(said.value)
    assert "\n" not in str(said.value)


def test_names_of_a_tokenizer_that_mean_something_else_to_a_template_are_one_line():
    with pytest.raises(ConfigError, match=r"^model\.chat_template=mine\.jinja: TypeError"):
        rendering.rendered("{{ messages }}", "mine.jinja", CHAT, {"chat_template": "x"})


def test_a_long_conversation_has_room_for_its_own_text():
    turn = {"role": "user", "content": "ا" * 2**23}
    template = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"
    text, spans = rendering.rendered(template, "mine.jinja", [turn], {})
    assert (len(text), spans) == (2**23 + len("user: \n"), [])


def test_what_runs_within_limits_again_has_its_time_again():
    for _ in range(3):
        with limits.limited(0.2, 2**30):
            start = time.process_time()
            while time.process_time() - start < 0.1:
                pass
    with pytest.raises(limits.TooLongError), limits.limited(0.1, 2**30):
        while True:
            pass
