"""The hub's cache is read without a network; what is nowhere is named with what fetches it."""

from pathlib import Path

import pytest
from conftest import compose_config
from hub_server import serving

from arabic_llm import hub
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import locate
from arabic_llm.errors import DataError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REMOTE = ("data=local", "data.hub_id=school/questions", "data.files=[data/train-*.jsonl]")
ROW = '{"instruction": "ما عاصمة مصر؟", "input": "", "output": "القاهرة"}\n'


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Return an empty hub cache on a machine without a network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def data_set(folder: Path) -> Path:
    """Write a data set of two shards, and files beside them that are no rows of it."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train-00000.jsonl").write_text(ROW, encoding="utf-8")
    (folder / "data" / "train-00001.jsonl").write_text(ROW.replace("مصر", "مصر العربية"), encoding="utf-8")
    (folder / "data" / "test-00000.jsonl").write_text("not ours to read", encoding="utf-8")
    (folder / "README.md").write_text("# Card", encoding="utf-8")
    return folder


def test_a_data_set_in_the_hubs_cache_is_read_shard_by_shard(cache, tmp_path):
    repository = cache / "datasets--school--questions"
    snapshot = data_set(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    rows = sources.load(compose_config(*REMOTE, "data.dev_share=0").data, tmp_path / "data_raw", seed=1)
    assert [row.id for row in rows.train] == [f"{snapshot}/data/train-0000{n}.jsonl:1" for n in (0, 1)]


def test_a_folder_of_the_users_comes_before_the_cache(cache, tmp_path):
    folder = data_set(tmp_path / "data_raw" / "local")
    found = locate.locate(compose_config(*REMOTE).data, tmp_path / "data_raw")
    assert [path.parent.parent for path in found.train] == [folder, folder]


def test_the_same_files_have_one_hash_wherever_they_lie(tmp_path):
    hashes = set()
    for name in ("here", "there"):
        folder = data_set(tmp_path / name)
        data = compose_config("data=local", f"data.path={folder}", REMOTE[2]).data
        hashes.add(sources.source_hash(data, tmp_path, tmp_path))
    assert len(hashes) == 1


def test_what_is_nowhere_is_said_with_place_and_command(cache, tmp_path):
    with pytest.raises(DataError) as error:
        locate.locate(compose_config(*REMOTE).data, tmp_path / "data_raw")
    place = tmp_path / "data_raw" / "local"
    assert str(error.value) == (
        f"data=local: school/questions is not here and cannot be reached (HF_HUB_OFFLINE is set; unset it"
        f" where there is a network); put its files in {place}/, or"
        " fetch them where there is a network: python -m arabic_llm.run task=download data=local, or"
        " without this program: hf download school/questions --revision main"
        f" --repo-type dataset --include 'data/train-*.jsonl' --local-dir {place}"
    )


def test_a_folder_without_data_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds no data file \(\*\.jsonl, "):
        locate.locate(compose_config("data=local", f"data.path={tmp_path}/empty").data, tmp_path)


def test_a_cache_that_holds_only_a_part_is_not_taken_for_the_whole(cache):
    repository = hub.Repository("school/questions", COMMIT, ("*.jsonl",), "dataset")
    (cache / "datasets--school--questions" / "snapshots" / COMMIT).mkdir(parents=True)
    with pytest.raises(hub.UnreachableError):
        hub.snapshot(repository, lambda folder: any(folder.glob("*.jsonl")), network=True)


def test_what_the_disk_refuses_is_not_said_of_the_hub(cache, tmp_path, monkeypatch):
    from huggingface_hub import constants

    cache.write_text("a file where the hub's cache should be", encoding="utf-8")
    repository = hub.Repository("school/questions", "main", ("data/*",), "dataset")
    with serving() as served:
        served.add("dataset", repository.id, data_set(tmp_path / "served"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        with pytest.raises(OSError, match="Not a directory|File exists"):
            hub.snapshot(repository, lambda _: True, network=True)
