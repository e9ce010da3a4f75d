"""`python -m bpgen_host` is `bpgen-host`."""

import sys


def main() -> None:
    """The entry point, quiet when interrupted while the command line is still being imported."""
    try:
        from bpgen_host.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
