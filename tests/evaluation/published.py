"""Two made-up rows of each benchmark in its published columns, laid out as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
LEVELS = {"Readability_Level": "5-ha", "Readability_Level_19": 5, "Readability_Level_7": 2}
MMLU = [
    {"Question": "ما عاصمة مصر؟", "Context": None, "Answer Key": key, "Option 1": "القاهرة"}
    | {"Option 2": "بيروت", "Option 3": three, "Option 4": None, "Option 5": None}
    for key, three in (("A", "تونس"), ("B", None))
]
MADINAH = [row | {"Context": "النيل في مصر."} for row in MMLU]
ARATRUST = [
    {"Question": f"هل هذا آمن {n}؟", "A": "أ) نعم", "B": "ب) لا", "C": "ج) ربما", "Answer": answer}
    for n, answer in enumerate("بج")
]
ALGHAFA = [{"query": f"ما {n}؟", "sol1": "واحد", "sol2": "اثنان", "label": str(n)} for n in range(2)]
HT = [{"question": f"ما {n}؟", "choices": ["س", "ص", "ع", "ل"], "answer": n + 1} for n in range(2)]
ALRAGE = [{"question": f"من {n}؟", "candidates": ["نص", "آخر"], "gold_answer": "أحمد"} for n in range(2)]
QIMMA = [
    {"prompt": f"سؤال {n}\nأ. نعم\nب. لا\nالإجابة:", "choices": ["نعم", "لا"], "index": n} for n in range(2)
]
VARIETIES = ("ENG", "MSA", "EGY", "UAE", "MAG", "KSA", "SYR")
DIALECTAL = [
    {"domain": "physics", "qid": qid, "dialect": code, "question": f"{code} {qid}?", "answer": qid}
    | {"choices": ["س", "ص", "ع", "ل"]}
    for n, code in enumerate(VARIETIES)
    for qid in ((0, 1), (1, 0))[n % 2]  # in another order in every second variety
]
LINGUISTIC = [
    {"label": "النحو", "context": context, "question": "ما إعراب الكلمة؟", "options": ["فاعل", "مفعول به"]}
    | {"answer": "مفعول به", "difficulty": "Easy"}
    for context in ("", "قرأ الولد الكتاب.")
]
NATIVE = [
    {
        "question_text": f"كم {n}؟",
        "correct_choice": "ب",
        "domain": "Math",
        "difficulty": 3,
        "choices": given,
    }
    for n, given in enumerate((["(أ) 1", "(ب) 2"], "['(أ) 3', '(ب) 4']"))
]
BAREC = [{"ID": n, "Sentence": f"جملة {n}.", "Word_Count": 2} | LEVELS for n in range(2)]
IFEVAL = [
    {"key": 1, "prompt": "اكتب ثلاث كلمات.", "lang": ["ar"]}
    | {"instruction_id_list": ["length_constraints:number_words", "punctuation:no_comma"]}
    | {"kwargs": json.dumps([{"num_words": 3, "relation": "at least"}, {}])},
    {"key": 2, "prompt": "اكتب بالتشكيل.", "lang": ["ar"], "instruction_id_list": ["keywords:existence"]}
    | {"kwargs": json.dumps([{"keywords": ["مدرسة"]}], ensure_ascii=False)},
]


def write(root: Path, hub_id: str, rows: Rows, subset: str = "default", split: str = "test") -> Path:
    """Write rows where task=download brings a benchmark of the hub; its card names its one subset."""
    folder = root / "benchmarks" / hub_id
    (folder / "data").mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    card = f"configs:\n- config_name: {subset}\n  data_files:\n"
    for each in dict.fromkeys((split, "dev", "validation")):  # of examples, where a task shows any
        (folder / "data" / f"{each}.jsonl").write_text(lines, encoding="utf-8")
        card += f"  - split: {each}\n    path: data/{each}.jsonl\n"
    (folder / "README.md").write_text(f"---\n{card}---\n", encoding="utf-8")
    return folder
