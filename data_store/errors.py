"""The error that a user can mend, and how a command reports it."""

import os
import select
import sys
from collections.abc import Callable


class InputError(ValueError):
    """A user's input breaks a rule: the message states the rule, the value and the remedy, on one line."""


OUTPUT_CLOSED = 141
"""Exit code of a command whose output nobody reads any more: what a shell says of a program that SIGPIPE ended."""


def run_command(main: Callable[[], int]) -> None:
    """Run a command's ``main`` and exit.

    The code is its return value, 2 after an ``InputError``, 130 after Ctrl-C, and 141, without a word, when who read
    its output has gone, as ``head`` does.
    """
    try:
        code = main()
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        code = OUTPUT_CLOSED
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = OUTPUT_CLOSED
    if code == OUTPUT_CLOSED:  # else Python, at its end, would write once more what it holds
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _reader_is_gone() -> bool:
    """Tell whether it is the standard output that is broken, and not a pipe to another process."""
    output = select.poll()
    output.register(sys.stdout, 0)
    return any(state & select.POLLERR for _, state in output.poll(0))
