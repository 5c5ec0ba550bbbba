"""The processes of this machine, to see what a job left behind and what a program needs."""

import os


def processes(marker: str) -> list[str]:
    """Returns the command lines that begin with the marker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                text = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text.startswith(marker):
            found.append(text)
    return found


class Peak:
    """The most memory that a process has had since this was made."""

    def __init__(self, pid: int):
        self._pid = pid
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")

    def mebibytes(self) -> int:
        with open(f"/proc/{self._pid}/status") as file:
            (line,) = (it for it in file if it.startswith("VmHWM:"))
        return int(line.split()[1]) // 1024
