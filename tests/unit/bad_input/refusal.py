"""Samples to be wrong about, and the one sentence that a command says of a mistake."""

from pathlib import Path

from click.testing import CliRunner, Result

from bpgen.cli import cli

HEADER = "a,b,kind\n"
ROWS = "".join(f"{i},{i * 7 % 5},{('red', 'blue')[i % 2]}\n" for i in range(12))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def refuses(folder: Path, message: str, *arguments: str) -> None:
    """The command says one sentence that contains `message`, and leaves the folder as it was."""
    before = listing(folder)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert is_one_sentence(result.stderr)
    assert message in result.stderr
    assert result.stdout == ""
    assert listing(folder) == before


def is_one_sentence(text: str) -> bool:
    return (
        text.startswith("bpgen: ")
        and text.endswith(".\n")
        and not text.endswith("..\n")
        and text.count("\n") == 1
        and "Traceback" not in text
    )


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def train_arguments(
    file: str = "data.csv", layers: str = "2-3-2", target: str = "kind"
) -> list[str]:
    return ["train", file, "--layers", layers, "--target-column", target, "-o", "out.npz"]
