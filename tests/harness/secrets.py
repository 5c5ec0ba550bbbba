"""Every secret of the session is noted here, so that the last test can look for all of them in all logs."""

import secrets as random
from pathlib import Path

_noted: set[str] = set()
_logs: list[Path] = []


def note(secret: str) -> str:
    """Notes a secret that must never be logged, and returns it."""
    assert len(secret) >= 8, "a short secret would be found by chance"
    _noted.add(secret)
    return secret


def new_password() -> str:
    """Returns a password that nobody used before."""
    return note(f"correct-{random.token_hex(10)}")


def note_log(path: Path) -> Path:
    """Notes a file that a server or runner logs to."""
    _logs.append(path)
    return path


def noted() -> set[str]:
    return set(_noted)


def logs() -> list[Path]:
    return [it for it in _logs if it.exists()]


def leaks() -> list[str]:
    """Returns the log lines that show a secret."""
    found = []
    for path in logs():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found += [f"{path}:{number}: {line}" for secret in _noted if secret in line]
    return found
