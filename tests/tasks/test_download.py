"""What a run reads is brought whole from the hub, mended, carried on, and then read without a network."""

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import published
import pytest
from conftest import compose_config
from hub_server import Hub, commit_of, serving, sha256

from arabic_llm import downloads, files
from arabic_llm.config import paths

ROW = '{"instruction": "ما عاصمة مصر؟", "input": "", "output": "القاهرة"}\n'
LARGE = 24 * 2**20
DATA = ("data=local", "data.name=questions", "data.hub_id=school/questions")
SHARDS = "data.files=[data/train-*.jsonl]"
MODEL = ("model.builtin=false", "model.name=little", "model.hub_id=school/little")
LEAF = "arabicmmlu_biology_high_school"
SUBSET = "Biology (High School)"
COLUMNS = "ID,Source,Country,Group,Subject,Level,Question,Context,Answer Key," + ",".join(
    f"Option {number}" for number in range(1, 6)
)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Return a hub on this machine, and make it the one that the program asks."""
    import datasets
    from huggingface_hub import constants

    with serving() as served:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
        yield served


@pytest.fixture
def suite(tmp_path) -> tuple[str, ...]:
    """Return what chooses a suite of one task that lm-eval loads from the hub, and one that is built in."""
    tasks = f"  {LEAF}: {{folder: arabicmmlu}}\n  sample_choice: {{folder: sample}}\n"
    write(tmp_path / "conf" / "suite" / "biology.yaml", f"name: biology\ntasks:\n{tasks}")
    return (f"hydra.searchpath=[file://{tmp_path}/conf]", "suite=biology")


@pytest.fixture
def served(hub, tmp_path_factory) -> Path:
    """Return the folder of a data set on the hub: two shards of it, and what is no part of it."""
    folder = tmp_path_factory.mktemp("served")
    write(folder / "data" / "train-0.jsonl", ROW * 4)
    write(folder / "data" / "train-1.jsonl", ROW.replace("مصر", "لبنان").replace("القاهرة", "بيروت"))
    write(folder / "data" / "test-0.jsonl", "not ours to read")
    write(folder / "README.md", "# Card")
    hub.add("dataset", "school/questions", folder)
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def serve_benchmark(hub: Hub, folder: Path) -> None:
    """Serve ArabicMMLU's layout, with one subset: the card names the files of each split."""
    splits = "".join(f"  - split: {s}\n    path: {SUBSET}/{s}.csv\n" for s in ("test", "dev"))
    write(folder / "README.md", f"---\nconfigs:\n- config_name: {SUBSET}\n  data_files:\n{splits}---\n")
    for split, count in (("test", 3), ("dev", 1)):
        rows = [f"{n},x,,STEM,Biology,High,ما {n}؟,,A,نعم,لا,ربما,," for n in range(count)]
        write(folder / SUBSET / f"{split}.csv", "\n".join([COLUMNS, *rows]))
    hub.add("dataset", "MBZUAI/ArabicMMLU", folder)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def written_down(folder: Path) -> dict:
    return files.read_state(folder / downloads.WRITTEN_DOWN)


def test_what_a_run_reads_is_brought_and_then_read_without_a_network(
    hub, served, suite, program, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    hub.add("model", "school/little", paths.PACKAGE / "models" / "tiny")
    serve_benchmark(hub, tmp_path / "benchmark")
    chosen = (*DATA, SHARDS, *MODEL, *suite)
    status, said = program("task=download", *chosen)
    assert status == 0, said
    assert (
        f"data=questions: school/questions at {commit_of(served)[:7]} in data_raw/questions/: 2 files"
        in said
    )
    assert "model=little: school/little at " in said
    assert f"suite task {LEAF}: MBZUAI/ArabicMMLU at " in said
    assert "suite task sample_choice: built in" in said
    assert f"python -m arabic_llm.run task=study {DATA[0]} " in said.splitlines()[-1]
    assert files_below(tmp_path / "data_raw" / "questions") == [
        "DOWNLOADED",
        "data/train-0.jsonl",
        "data/train-1.jsonl",
    ]
    assert written_down(tmp_path / "data_raw" / "questions") == {
        "repository": "school/questions",
        "revision": "main",
        "commit": commit_of(served),
        "patterns": ["data/train-*.jsonl"],
        "files": {
            name: {"sha256": sha256(served / name), "size": (served / name).stat().st_size}
            for name in ("data/train-0.jsonl", "data/train-1.jsonl")
        },
    }
    assert not (tmp_path / "outputs").exists()  # a download is never done for good

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.refused = dict.fromkeys(("school/questions", "school/little", "MBZUAI/ArabicMMLU"), "down")
    status, said = program("task=study", *chosen, "dry_run=true")
    assert status == 0, said
    assert f"plan: little on {LEAF}: 3 items" in said
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["little"]


def test_a_download_killed_in_a_large_file_fetches_only_the_rest(hub, tmp_path, program, monkeypatch):
    folder = tmp_path / "served"
    write(folder / "rows.jsonl", ROW * (LARGE // len(ROW.encode())))
    hub.add("dataset", "school/questions", folder)
    hub.stall_after = 15 * 2**20
    child = subprocess.Popen(
        [sys.executable, "-m", "arabic_llm.run", "task=download", *DATA, "data_root=data_raw"],
        cwd=tmp_path,
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "60"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    staging = tmp_path / "data_raw" / ".questions.partial"
    while not any(path.stat().st_size for path in staging.glob("*.partial")):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    hub.released.set()
    (part,) = staging.glob("*.partial")
    come = part.stat().st_size
    assert 0 < come <= 15 * 2**20
    assert not (tmp_path / "data_raw" / "questions").exists()  # no run takes a part for the whole

    hub.stall_after, hub.sent = None, {}
    status, said = program("task=download", *DATA)
    assert status == 0, said
    assert hub.ranges == [f"bytes={come}-"]
    assert hub.sent == {"rows.jsonl": (folder / "rows.jsonl").stat().st_size - come}
    assert sha256(tmp_path / "data_raw" / "questions" / "rows.jsonl") == sha256(folder / "rows.jsonl")
    assert files_below(tmp_path / "data_raw") == ["questions/DOWNLOADED", "questions/rows.jsonl"]


def test_changed_lost_and_outdated_files_are_mended_and_no_others_fetched(hub, served, program, tmp_path):
    here = tmp_path / "data_raw" / "questions" / "data"
    assert program("task=download", *DATA, SHARDS)[0] == 0
    hub.sent = {}
    assert "(nothing new)" in program("task=download", *DATA, SHARDS)[1]
    assert hub.sent == {}

    before = (here / "train-0.jsonl").stat()
    text = (here / "train-0.jsonl").read_text(encoding="utf-8")
    write(here / "train-0.jsonl", text.replace("القاهرة", "القاهرا"))  # as long as before
    os.utime(here / "train-0.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert program("task=download", *DATA, SHARDS)[0] == 0
    assert (here / "train-0.jsonl").read_text(encoding="utf-8") == text
    assert hub.sent.keys() == {"data/train-0.jsonl"}

    newer = tmp_path / "newer"
    shutil.copytree(served, newer)
    (newer / "data" / "train-1.jsonl").unlink()
    write(newer / "data" / "train-2.jsonl", ROW)
    hub.add("dataset", "school/questions", newer, "v2")
    hub.sent = {}
    assert program("task=download", *DATA, SHARDS, "data.revision=v2")[0] == 0
    assert [path.name for path in sorted(here.iterdir())] == ["train-0.jsonl", "train-2.jsonl"]
    assert hub.sent.keys() == {"data/train-2.jsonl"}
    assert written_down(here.parent)["commit"] == commit_of(newer)

    for damage in (b"[1]", b'{"files": {}}', b"\xff", b'{"repository": "school/'):
        (here.parent / "DOWNLOADED").write_bytes(damage)
        hub.sent = {}
        status, said = program("task=download", *DATA, SHARDS, "data.revision=v2")
        assert status == 0, said
        assert hub.sent == {}  # each file is looked at, and is what the hub has
        assert written_down(here.parent)["commit"] == commit_of(newer)


def test_two_data_sets_of_one_repository_share_its_folder(hub, served, program, tmp_path):
    assert program("task=download", *DATA, SHARDS)[0] == 0
    assert program("task=download", *DATA, "data.files=[data/test-*.jsonl]")[0] == 0
    assert [path.name for path in sorted((tmp_path / "data_raw" / "questions" / "data").iterdir())] == [
        *("test-0.jsonl", "train-0.jsonl", "train-1.jsonl")
    ]


REFUSALS = {
    "no repository": "the hub knows no such repository or revision, or not for you: `hf auth login`",
    "no revision": "the hub knows no such repository or revision, or not for you: `hf auth login`",
    "gated": "the hub asks for its licence to be accepted there, and for `hf auth login`",
    "forbidden": "the hub refuses it (403): `hf auth login` with a token that may read it",
    "down": "the hub cannot answer now (503); type the same command again later",
}


@pytest.mark.parametrize("refused", REFUSALS)
def test_what_cannot_be_had_is_one_line_and_the_rest_comes(hub, served, suite, program, tmp_path, refused):
    hub.add("dataset", "MBZUAI/ArabicMMLU", served)
    hub.refused["MBZUAI/ArabicMMLU"] = refused
    status, log = program("task=download", *DATA, SHARDS, *suite)
    assert status == 2
    place = "data_raw/benchmarks/MBZUAI/ArabicMMLU/"
    lines = [line for line in log.splitlines() if line.startswith(f"suite task {LEAF}:")]
    assert len(lines) == 1
    assert lines[0].startswith(
        f"suite task {LEAF}: MBZUAI/ArabicMMLU at main does not come to {place}: {REFUSALS[refused]}"
    )
    last = f"error: not here: suite task {LEAF} (why stands above); the same command carries on"
    assert log.splitlines()[-1] == last
    assert files_below(tmp_path / "data_raw") == [
        *("questions/DOWNLOADED", "questions/data/train-0.jsonl", "questions/data/train-1.jsonl")
    ]


def test_without_a_network_what_came_before_is_checked(hub, served, program, tmp_path, monkeypatch):
    from huggingface_hub import constants

    assert program("task=download", *DATA, SHARDS)[0] == 0
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    status, said = program("task=download", *DATA, SHARDS)
    assert status == 0
    assert "(whole as it came before; not looked for again: http://127.0.0.1:9 does not answer" in said

    (tmp_path / "data_raw" / "questions" / "data" / "train-1.jsonl").write_text(ROW, encoding="utf-8")
    status, said = program("task=download", *DATA, SHARDS)
    assert status == 2
    assert (
        "does not come to data_raw/questions/: http://127.0.0.1:9 does not answer: no network, or" in said
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in program("task=download", *DATA, SHARDS)[1]


def test_a_folder_of_the_users_is_never_touched(hub, served, program, tmp_path):
    write(tmp_path / "data_raw" / "questions" / "mine.jsonl", ROW)
    status, said = program("task=download", *DATA)
    assert status == 0
    assert "data=questions: data_raw/questions is yours and stays as it is" in said
    assert files_below(tmp_path / "data_raw") == ["questions/mine.jsonl"]
    assert hub.sent == {}

    write(tmp_path / "models" / "little" / "config.json", "{}")
    status, said = program("task=download", *MODEL)
    assert status == 2
    assert "model=little: models/little has no tokenizer_config.json" in said


def test_a_benchmark_of_2026_is_brought_and_asked_and_a_gated_one_is_one_line(
    hub, program, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    rows = {"qimma/MCQ_GAT": published.QIMMA, "tiiuae/NativeQA": published.NATIVE}
    for hub_id, own in rows.items():
        hub.add("dataset", hub_id, published.write(tmp_path / "served", hub_id, own))
    tasks = "  qimma_gat: {folder: qimma}\n  three_lm_nativeqa: {folder: linguistics}\n"
    write(tmp_path / "conf" / "suite" / "two.yaml", f"name: two\ntasks:\n{tasks}")
    two = (f"hydra.searchpath=[file://{tmp_path}/conf]", "suite=two")
    hub.refused["tiiuae/NativeQA"] = "gated"
    status, said = program("task=download", *two)
    assert status == 2
    assert "suite task qimma_gat: qimma/MCQ_GAT at " in said
    (refused,) = [line for line in said.splitlines() if line.startswith("suite task three_lm_nativeqa: ")]
    assert REFUSALS["gated"] in refused

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    status, said = program("task=evaluate", *two, "suite.allow_missing=true", "dry_run=true")
    assert status == 0, said
    assert "plan: tiny on qimma_gat: 2 items" in said
    assert "left out: suite task three_lm_nativeqa: " in said

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.refused.clear()
    assert program("task=download", *two)[0] == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    status, said = program("task=evaluate", *two, "dry_run=true")
    assert (status, "plan: tiny on three_lm_nativeqa: 2 items" in said) == (0, True), said


def test_a_full_disk_is_one_line_and_what_came_stays(hub, served, program, tmp_path):
    hub.sizes["data/train-0.jsonl"] = 2**60
    status, said = program("task=download", *DATA, SHARDS)
    assert status == 2
    assert "no room on the disk for data_raw/questions: 1,073,741,824.00 GiB needed" in said

    hub.sizes = {}
    write(served / "data" / "train-1.jsonl", ROW * (LARGE // len(ROW.encode())))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15 * 2**20, before[1]))
    try:
        status, said = program("task=download", *DATA, SHARDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 2
    assert "no room on the disk for data_raw/questions: more needed" in said
    hub.sent = {}
    assert program("task=download", *DATA, SHARDS)[0] == 0
    assert hub.sent == {
        "data/train-1.jsonl": (served / "data" / "train-1.jsonl").stat().st_size - 15 * 2**20
    }


def test_two_processes_never_write_one_folder(hub, served, program, tmp_path):
    (tmp_path / "data_raw").mkdir()
    with (tmp_path / "data_raw" / ".questions.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said = program("task=download", *DATA, SHARDS)
    assert status == 2
    assert "another process is downloading to data_raw/questions; wait for it" in said


def test_a_file_that_would_lie_outside_its_folder_is_refused(hub, served, program, tmp_path):
    hub.renamed["data/train-1.jsonl"] = "../../train-1.jsonl"
    status, said = program("task=download", *DATA)
    assert status == 2
    assert "it has a file that would lie outside its folder: ../../train-1.jsonl" in said
    assert files_below(tmp_path / "data_raw") == []


def test_a_dry_run_names_places_and_asks_nobody(hub, suite, program, tmp_path):
    hub.refused["school/questions"] = "down"
    status, said = program("task=download", *DATA, SHARDS, *MODEL, *suite, "dry_run=true")
    assert status == 0
    assert "fetch dataset school/questions at main (data/train-*.jsonl) to data_raw/questions/" in said
    assert (
        "fetch model school/little at main (*.json, *.safetensors, *.model, *.jinja) to models/little/"
        in said
    )
    assert " to data_raw/benchmarks/MBZUAI/ArabicMMLU/" in said
    assert files_below(tmp_path) == ["conf/suite/biology.yaml"]


def test_a_run_with_a_network_reads_from_the_hub_by_itself(hub, served, tmp_path):
    (served / "data" / "test-0.jsonl").unlink()
    from arabic_llm.data.reading import locate

    found = locate.locate(compose_config(*DATA).data, tmp_path / "data_raw")
    assert [path.name for path in found.train] == ["train-0.jsonl", "train-1.jsonl"]


def test_a_model_that_no_yaml_names_is_brought_and_read_where_it_lies(hub, program, tmp_path, monkeypatch):
    from huggingface_hub import constants

    hub.add("model", "school/little", paths.PACKAGE / "models" / "tiny")
    own = ("model=auto", "model.hub_id=school/little")
    status, said = program("task=download", "dry_run=true", *own)
    assert status == 0, said
    assert "plan: model=little: fetch model school/little at main" in said
    assert not (tmp_path / "models").exists()

    status, said = program("task=plan", "hw=8gb", *own)  # its config.json alone
    assert status == 0, said
    assert "model=auto: little is qwen2 of 6 layers in " in said
    assert "model.safetensors" not in hub.sent

    status, said = program("task=download", *own)
    assert status == 0, said
    assert "model=little: school/little at " in said
    assert (tmp_path / "models" / "little" / "model.safetensors").is_file()

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    status, said = program("dry_run=true", *own, "hw=cpu")
    assert status == 0, said
    assert "model=auto: little is qwen2 of 6 layers in models/little; chat template: tokenizer" in said
    status, said = program("dry_run=true", "model.hub_id=other/little", "hw=cpu")
    assert status == 2
    assert "models/little holds school/little" in said
