"""A warm process whose forks run the program, alone or several together, and can be killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from arabic_llm import files

TIMELESS = ("step", "loss", "dev_loss", "learning_rate", "grad_norm", "tokens_seen")


class Nursery:
    """Runs the program in forks of one warm process, and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self, cwd: Path, arguments: tuple[str, ...], environment: dict[str, str] | None = None
    ) -> int:
        (pid,) = self._start(cwd, [(environment or {}, arguments)])
        return pid

    def wait(self) -> int:
        (status,) = self._wait()
        return status

    def finish(
        self, cwd: Path, arguments: tuple[str, ...], environment: dict[str, str] | None = None
    ) -> None:
        self.start(cwd, arguments, environment)
        status = self.wait()
        assert status == 0, (cwd / "log.txt").read_text()[-3000:]

    def together(self, cwd: Path, *each: tuple[str, ...], first: str = "") -> list[int]:
        """Run the program once for each list of arguments, as torchrun does: the processes of one run.

        `first` is Python that each of them does before.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": str(len(each)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(len(each)))
        self._start(cwd, [(shared | own, given) for own, given in zip(ranks, each, strict=True)], first)
        return self._wait()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _start(
        self, cwd: Path, runs: list[tuple[dict[str, str], tuple[str, ...]]], first: str = ""
    ) -> list[int]:
        order = {"cwd": str(cwd), "runs": runs, "log": str(cwd / "log.txt"), "first": first}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())["pids"]

    def _wait(self) -> list[int]:
        return json.loads(self._process.stdout.readline())["statuses"]


def curve(directory: Path) -> list[dict[str, float]]:
    lines = files.read_json_lines(directory / "mine" / "training" / "metrics.jsonl")
    return [{key: line[key] for key in line if key in TIMELESS or "held_out" in key} for line in lines]
