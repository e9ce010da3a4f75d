"""`python -m bpgen` is `bpgen`."""

import sys


def main() -> None:
    """The entry point, quiet when interrupted while the command line is still being imported."""
    try:
        from bpgen.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
