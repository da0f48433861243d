"""Rules that ask who, what, when, where, how much and why, each about one form of a statement."""

from __future__ import annotations

import re

from arabic_llm.synthesis import statement_forms as forms
from arabic_llm.synthesis.exchanges import Exchange

_SHE = ("هي", "إحدى")
_SUPERLATIVES = ("أكبر", "أصغر", "أطول", "أعلى", "أشهر", "أول")  # the noun behind them tells he from she


def definition(sentence: str, title: str) -> Exchange | None:
    """Return who or what something is, where a sentence says that it is."""
    found = forms.DEFINITION.match(sentence)
    name = forms.subject(found["subject"], title) if found else None
    if found is None or name is None:
        return None
    is_one = forms.PERSONS_NAME.match(f"{name} ") or forms.PERSONS_NAME.match(found["what"])
    asked = "من" if found["is"] == "هم" or is_one or _is_person(found["what"]) else "ما"
    return Exchange(f"{asked} {found['is']} {name}؟", sentence, "extractive:definition")


def nominal(sentence: str, title: str) -> Exchange | None:
    """Return who or what the article is about, where its name and a noun make the sentence."""
    if not title or not sentence.startswith(f"{title} "):
        return None
    said = forms.NOMINAL.match(forms.ASIDES.sub("", sentence[len(title) :]))
    if said is None:
        return None
    asked = "من" if _is_person(said["what"]) else "ما"
    return Exchange(f"{asked} {_pronoun(said['what'])} {title}؟", sentence, "extractive:definition")


def _is_person(what: str) -> bool:
    """Return whether words say first that somebody is a person: a club of sports is none."""
    first, *others = what.split()[:3]
    if re.fullmatch(forms.KIND, first) and first not in _SUPERLATIVES and first not in ("أحد", "إحدى"):
        return False
    return forms.PERSON.search(" ".join((first, *others))) is not None


def _pronoun(what: str) -> str:
    first, *others = (word.rstrip("،") for word in what.split()[:2])
    noun = others[0] if first in _SUPERLATIVES and others else first
    return "هي" if noun.endswith("ة") or noun in _SHE else "هو"


def born(sentence: str, title: str) -> Exchange | None:
    """Return when a person was born, where dates stand behind the name."""
    return _of_life(sentence, title, ("ولد", "ولدت"), "born")


def died(sentence: str, title: str) -> Exchange | None:
    """Return when a person died, where dates stand behind the name."""
    return _of_life(sentence, title, ("توفي", "توفيت"), "died")


def _of_life(sentence: str, title: str, verbs: tuple[str, str], which: str) -> Exchange | None:
    found = forms.LIFE.search(sentence)
    if found is None:
        return None
    date = (found["born"] or found["told"]) if which == "born" else found["died"]
    opening = " ".join(forms.ASIDES.sub("", sentence[found.end() :]).split()[:8])
    name = forms.subject(re.split(r"[(،؛:.]", sentence[: found.start()])[0], title)
    is_person = found["told"] is not None or forms.PERSON.search(opening) is not None  # wars have dates too
    if date is None or name is None or not is_person:
        return None
    first = (opening.split() or [""])[0].rstrip("،")
    verb = verbs[first == "هي" or (first.endswith("ة") and bool(forms.PERSON.match(first)))]
    return Exchange(f"متى {verb} {name}؟", f"{verb} {name} في {date}.", f"extractive:{which}")


def birthplace(sentence: str, title: str) -> Exchange | None:
    """Return where somebody was born, where a sentence says in which place."""
    found = forms.BIRTHPLACE.search(sentence)
    if found is None:
        return None
    opens = sentence.lstrip("و").startswith("ولد")
    name = found["subject"].strip() or (title if opens or forms.names(sentence, title) else "")
    where = forms.ENDS_A_PLACE.split(found["place"].strip() + " ", maxsplit=1)[0].strip()
    if not forms.is_name(name) or not where or not forms.is_name(where):
        return None
    verb = found["verb"]
    return Exchange(f"أين {verb} {name}؟", f"{verb} {name} في {where}.", "extractive:birthplace")


def place(sentence: str, title: str) -> Exchange | None:
    """Return where something lies."""
    found = forms.PLACE.match(sentence)
    if found is None or forms.is_vague(found["subject"]):
        return None
    answer = f"{found['verb']} {found['subject']} {found['place']}"
    return Exchange(f"أين {found['verb']} {found['subject']}؟", answer, "extractive:place")


def borders(sentence: str, title: str) -> Exchange | None:
    """Return what lies around a country that the sentence is about."""
    found = forms.BORDERS.match(sentence)
    about = bool(title) and (sentence.startswith(title) or (found is not None and found.start("said") <= 1))
    if found is None or not about:
        return None
    return Exchange(f"ما الذي يحد {title}؟", found["said"], "extractive:borders")


def date(sentence: str, title: str) -> Exchange | None:
    """Return when something was, where a sentence opens with its verb and names one date."""
    verb, dated = forms.OPENING_VERB.match(sentence), forms.DATED.search(sentence)
    if verb is None or dated is None or len(forms.DATED.findall(sentence)) > 1:
        return None
    rest = re.split(r"[،؛;(]", forms.end(forms.DATED.sub(" ", verb["rest"], count=1)))[0]
    said = " ".join((verb["verb"], *rest.split()))
    if not forms.is_clause(said):
        return None
    if dated["day"]:
        asked, when = "متى", dated["day"]
    else:
        asked, when = "في أي عام", f"عام {dated['year'] or dated['bare']}"
    return Exchange(f"{asked} {said}؟", f"{said} في {when}.", "extractive:date")


def event(sentence: str, title: str) -> Exchange | None:
    """Return what happened at a date that a sentence begins with, to whom the article is about."""
    found = forms.FRONTED.match(sentence)
    if found is None or not title or forms.is_vague(found["rest"]):
        return None
    when = found["day"] or f"عام {found['year']}"
    return Exchange(f"ماذا حدث في {when} في ما يخص {title}؟", sentence, "extractive:event")


def measure(sentence: str, title: str) -> Exchange | None:
    """Return how much of something there is, where a sentence measures it."""
    found = forms.MEASURE.search(sentence)
    if found is None or forms.OF_SOMEBODY.search(found["what"]) or forms.ends_open(found["what"]):
        return None
    asked = "بكم" if "قدر" in found["verb"] else "إلى كم" if "صل" in found["verb"] else "كم"
    said = f"{found['verb']} {found['what']}"
    return Exchange(f"{asked} {said}؟", f"{said} {forms.end(found['value'])}.", "extractive:measure")


def own(sentence: str, title: str) -> Exchange | None:
    """Return what a sentence says that its article's subject has: a capital, a currency, a seat."""
    if not title or not sentence.startswith(title):
        return None
    for said, asked, answered in forms.OWN:
        found = re.search(rf"(?:^|[\s،])و?{said}{forms.OWN_VALUE}", sentence)
        value = forms.ENDS_A_NAME.split(found["value"], maxsplit=1)[0].strip() if found else ""
        if value and forms.is_name(value):
            return Exchange(asked.format(title), answered.format(title, value), "extractive:own")
    return None


def notable(sentence: str, title: str) -> Exchange | None:
    """Return what the best known of somebody's works, or of a country's towns, are."""
    found = forms.NOTABLE.match(sentence)
    if found is None or not title:
        return None
    return Exchange(f"ما {found['how']} {found['what']} {title}؟", sentence, "extractive:notable")


def made_of(sentence: str, title: str) -> Exchange | None:
    """Return what something is made of, or divided into."""
    found = forms.MADE_OF.match(sentence)
    if found is None or forms.is_vague(found["subject"]):
        return None
    asked = "مم" if found["of"] == "من" else "إلام"
    answer = sentence[found.start("verb") :]
    return Exchange(f"{asked} {found['verb']} {found['subject']}؟", answer, "extractive:parts")


def deed(sentence: str, title: str) -> Exchange | None:
    """Return what the article's subject has done, or has, where it stands behind its verb."""
    found = forms.DEED.match(sentence)
    if found is None or not title or not found["rest"].startswith(f"{title} "):
        return None
    object_ = found["rest"][len(title) + 1 :]
    if forms.begins_with_a_preposition(object_) or forms.is_vague(object_):
        return None
    answer = sentence[found.start("verb") :]
    return Exchange(f"ماذا {found['verb']} {title}؟", answer, "extractive:deed")


def by_whom(sentence: str, title: str) -> Exchange | None:
    """Return by whose hand something was done."""
    stated = forms.STATED.match(sentence)
    found = forms.BY_WHOM.match(stated["clause"]) if stated else None
    if stated is None or found is None or not forms.is_clause(found["clause"]):
        return None
    return Exchange(f"على يد من {found['clause']}؟", stated["clause"], "extractive:by_whom")


def why(sentence: str, title: str) -> Exchange | None:
    """Return why something is so, where a sentence gives its reason, or why it is called so."""
    if named := forms.NAMED.match(sentence):
        name = named["subject"] or title
        if forms.is_name(name):
            asked = f"لماذا {named['verb']} {name} بهذا الاسم؟"
            return Exchange(asked, sentence[named.start("verb") :], "extractive:why")
    stated = forms.STATED.match(sentence)
    found = forms.WHY.match(stated["clause"]) if stated else None
    if stated is None or found is None or not forms.is_clause(found["clause"]):
        return None
    return Exchange(f"لماذا {found['clause']}؟", stated["clause"], "extractive:why")
