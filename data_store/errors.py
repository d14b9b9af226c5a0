"""The error that a user can mend, and how a command reports it."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """A user's input breaks a rule: the message states the rule, the value and the remedy, on one line."""


def run_command(main: Callable[[], int]) -> None:
    """Run a command's ``main`` and exit: its return value, 2 after an ``InputError``, 130 after Ctrl-C."""
    try:
        code = main()
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)
