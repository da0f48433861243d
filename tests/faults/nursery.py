"""Started once by the fault tests: imports what is slow, then forks a run for each line it reads.

A line is JSON: {"cwd": folder, "arguments": [...], "log": file}. It answers with the run's process id,
and once the run has ended with its status: {"pid": n}, then {"status": n} (negative: by that signal).
"""

import json
import os
import sys


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from arabic_llm import run
    from arabic_llm.data import staging  # noqa: F401
    from arabic_llm.evaluation import harness, statistics, suites  # noqa: F401
    from arabic_llm.models import adapter, placement  # noqa: F401
    from arabic_llm.reports import card, page  # noqa: F401
    from arabic_llm.tasks import compare, evaluate, prepare, sft, study  # noqa: F401
    from arabic_llm.training import sft as training  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.chdir(order["cwd"])
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.argv = ["arabic_llm.run", *order["arguments"]]
            try:
                run.main()
            except SystemExit as end:
                sys.stdout.flush()
                os._exit(int(end.code or 0))
            os._exit(1)
        print(json.dumps({"pid": pid}), flush=True)
        _, state = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(state)}), flush=True)


if __name__ == "__main__":
    main()
