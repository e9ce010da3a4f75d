"""The one exception for what a user can put right, and what helps its message."""

import difflib
from collections.abc import Sequence


class BpgenError(Exception):
    """
    A mistake a user can fix.

    The message is one sentence that says what is wrong and what to do; the command
    line prints it and exits with `exit_code`.
    """

    exit_code = 2


def suggestion(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown `name`: the known one most like it, or nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
