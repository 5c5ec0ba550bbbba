"""Waiting for a state with a deadline, never for a duration."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# A machine that is busy with other things is slow; a test that hangs is worse than one that waits.
DEADLINE_SECS = 60.0
PAUSE_SECS = 0.05


class TooLate(AssertionError):
    """What was waited for did not come."""


def wait_for(
    what: str,
    condition: Callable[[], T | None],
    deadline_secs: float = DEADLINE_SECS,
    otherwise: Callable[[], object] | None = None,
) -> T:
    """Returns the first true value of `condition`. Fails with `what` and what `otherwise` tells after the deadline."""
    end = time.monotonic() + deadline_secs
    value = condition()
    while not value:
        if time.monotonic() > end:
            told = f"; {otherwise()}" if otherwise else f"; last seen: {value!r}"
            raise TooLate(f"waited {deadline_secs:g} s in vain for {what}{told}")
        time.sleep(PAUSE_SECS)
        value = condition()
    return value
