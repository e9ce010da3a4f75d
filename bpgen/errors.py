"""The one exception for what a user can put right."""


class BpgenError(Exception):
    """
    A mistake a user can fix.

    The message is one sentence that says what is wrong and what to do; the command
    line prints it and exits with code 2.
    """
