"""Run a command, and print its CPU seconds and its peak memory in bytes: ``python -I -S launch.py
COMMAND…``.

A process of its own, and a small one: to a new process its parent's memory counts as its own until
it has begun its program.
"""

import os
import sys


def main() -> None:
    command = sys.argv[1:]
    pid = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    print(used.ru_utime + used.ru_stime, used.ru_maxrss * unit)
    sys.exit(code != 0)


if __name__ == "__main__":
    main()
