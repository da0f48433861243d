"""A full disk, a quota, a limit on files: one line with what there is, before a run begins where it can."""

import errno
import logging
import shutil

import pytest
from conftest import compose_config, files_of_up_to

from arabic_llm import disk, files, terminal
from arabic_llm.errors import HardwareError
from arabic_llm.memory import disk_room
from arabic_llm.tasks import pretrain

KIB = 2**10


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EFBIG, "File too large", "a/b"), "a/b could not be written: it would be larger"),
        (OSError(errno.EDQUOT, "Quota", "a/b"), "a/b could not be written: your quota is used up"),
        (OSError(errno.ENOSPC, "No space"), "a file could not be written: the disk is full"),
        (Exception("File too large (os error 27)"), "it would be larger than files may be"),  # tokenizers
        (OSError("[Errno 122] Error writing bytes"), None),
        (
            OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
            "disk is full",
        ),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file"), "disk is full, or"),
        (ValueError("PytorchStreamWriter"), None),
        (PermissionError(errno.EACCES, "no"), None),
    ],
)
def test_every_way_of_saying_that_there_is_no_room_is_understood(error, said):
    line = disk.no_room(error)
    assert line is None if said is None else said in line
    try:
        raise KeyError("another") from error
    except KeyError as raised:
        assert disk.no_room(raised) == line


def test_what_arrow_says_of_a_limit_is_understood(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"n": list(range(10_000))})
    with files_of_up_to(2 * KIB), pytest.raises(OSError) as raised:
        parquet.write_table(table, tmp_path / "rows.parquet", compression="none")
    assert "it would be larger than files may be" in disk.no_room(raised.value)


def test_a_limit_on_files_is_one_line_with_the_limit(program, tmp_path):
    with files_of_up_to(4 * KIB):
        status, said = program("task=prepare", "data.max_rows=200", "hydra.run.dir=mine")
    assert status == 2, said
    assert said.splitlines()[-1].startswith("error: ")
    assert "could not be written: it would be larger than files may be (" in said
    assert "0.0 MiB a file (ulimit -f)" in said


def test_a_log_that_has_no_room_ends_the_run_and_a_closed_terminal_does_not(tmp_path, capsys, monkeypatch):
    log = logging.getLogger("arabic_llm.test")
    log.setLevel(logging.INFO)
    with files_of_up_to(0), pytest.raises(OSError, match="File too large"):  # noqa: SIM117
        with terminal.copied_to(tmp_path / "run.log"):
            log.info("a line")
    with open("/dev/full", "w") as full:  # noqa: PTH123 (as a shell opens it)
        monkeypatch.setattr("sys.stdout", full)
        with terminal.ours():
            log.info("a line that nobody reads")
    assert "Logging error" not in capsys.readouterr().err


def short(tmp_path, *overrides):
    config = compose_config(*overrides)
    disk_room.refuse_short(config.model, config.adapter, config.task, tmp_path / "not" / "yet")


def test_what_checkpoints_take_already_is_counted_also_beside_a_link_to_nothing(tmp_path):
    checkpoint = tmp_path / "training" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.pt").write_bytes(b"12345")
    (checkpoint / "metrics.jsonl").symlink_to(tmp_path / "gone")
    (checkpoint / "loop").symlink_to(checkpoint / "loop")
    config = compose_config("task.max_steps=3")
    disk_room.refuse_short(config.model, config.adapter, config.task, tmp_path)
    assert files.num_bytes(checkpoint.iterdir()) == 5


def test_a_run_whose_checkpoints_have_no_room_is_refused_before_it_begins(tmp_path, monkeypatch):
    free = {"free": 10**9}
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, free["free"]))
    rank_16 = ("adapter.rank=16", "task.max_steps=400", "task.save_steps=100")
    short(tmp_path, *rank_16)
    # 3 checkpoints of 344,064 weights in float32, two moments and a MiB, and the adapter
    needed = 3 * (3 * 4 * 344_064 + 2**20) + 4 * 344_064
    free["free"] = needed
    short(tmp_path, *rank_16)
    free["free"] = needed - 1
    said = r"3 checkpoints and what is trained take 16 MiB, and the disk of .*yet has 16 MiB free"
    with pytest.raises(HardwareError, match=said):
        short(tmp_path, *rank_16)
    free["free"] = needed // 2
    short(tmp_path, *rank_16[:1], "task.max_steps=100", "task.save_steps=100")  # there is only one
    with pytest.raises(HardwareError, match="3 checkpoints and what is trained take 132"):
        short(tmp_path, "adapter=full", "task.max_steps=400")


def test_pretraining_is_refused_too_before_a_document_is_made(tmp_path):
    config = compose_config("task=pretrain", "hw=cpu")
    said = (
        r"have a file of 2\d.\d MiB, and here a file may have 2.0. Raise that .*, or make a smaller model"
    )
    with files_of_up_to(2**21), pytest.raises(HardwareError, match=said):
        pretrain.run(config, tmp_path / "mine")


def test_a_checkpoint_larger_than_files_may_be_is_refused(tmp_path):
    with (
        files_of_up_to(2**21),
        pytest.raises(
            HardwareError,
            match=r"have a file of 2.6 MiB, and here a file may have 2.0. Raise that \(ulimit -f",
        ),
    ):
        short(tmp_path, "adapter.rank=16")
    with files_of_up_to(2**22):
        short(tmp_path, "adapter.rank=16")
