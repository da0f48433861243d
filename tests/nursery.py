"""Started once by the tests that kill runs or start several: imports what is slow, then forks runs.

A line is JSON: {"cwd": folder, "runs": [[environment, arguments], ...], "log": file, "first": Python that
each does before}. It answers with the runs' process ids, and once they have ended with their statuses:
{"pids": [n]}, then {"statuses": [n]} (negative: by that signal).
"""

import json
import os
import sys
from typing import Any


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from arabic_llm import run  # noqa: F401
    from arabic_llm.analysis import statistics  # noqa: F401
    from arabic_llm.data.preparing import staging  # noqa: F401
    from arabic_llm.evaluation import harness, suites  # noqa: F401
    from arabic_llm.models import adapter, placement  # noqa: F401
    from arabic_llm.reports import card, page  # noqa: F401
    from arabic_llm.tasks import compare, evaluate, prepare, sft, study  # noqa: F401
    from arabic_llm.training import sft as training  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pids = [forked(order, environment, arguments) for environment, arguments in order["runs"]]
        print(json.dumps({"pids": pids}), flush=True)
        states = [os.waitpid(pid, 0)[1] for pid in pids]
        print(json.dumps({"statuses": list(map(os.waitstatus_to_exitcode, states))}), flush=True)


def forked(order: dict[str, Any], environment: dict[str, str], arguments: list[str]) -> int:
    """Start a run in a fork of this process and return its process id."""
    from arabic_llm import run

    if pid := os.fork():
        return pid
    os.chdir(order["cwd"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(environment)
    sys.argv = ["arabic_llm.run", *arguments]
    exec(order["first"], {})  # noqa: S102 (a test's own)
    try:
        run.main()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(int(end.code or 0))
    os._exit(1)


if __name__ == "__main__":
    main()
