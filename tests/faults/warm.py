"""What the fault tests share: a warm process whose forks are killed, and losses that must not differ."""

from __future__ import annotations

import json
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

    def start(self, cwd: Path, arguments: tuple[str, ...]) -> int:
        order = {"cwd": str(cwd), "arguments": list(arguments), "log": str(cwd / "log.txt")}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())["pid"]

    def wait(self) -> int:
        return json.loads(self._process.stdout.readline())["status"]

    def finish(self, cwd: Path, arguments: tuple[str, ...]) -> None:
        self.start(cwd, arguments)
        status = self.wait()
        assert status == 0, (cwd / "log.txt").read_text()[-3000:]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def curve(directory: Path) -> list[dict[str, float]]:
    lines = files.read_json_lines(directory / "mine" / "training" / "metrics.jsonl")
    return [{key: line[key] for key in line if key in TIMELESS or "held_out" in key} for line in lines]
