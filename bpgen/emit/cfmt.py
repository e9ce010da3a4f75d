"""How integers, text and identifiers are spelled in C99, and text in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bpgen.errors import BpgenError

# C99 and C++ keywords, what the generated files and <stdint.h>, <stddef.h>, <limits.h> declare,
# and names whose macros exist on common cores.
# fmt: off
RESERVED = frozenset((
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else",
    "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register",
    "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef",
    "union", "unsigned", "void", "volatile", "while", "alignas", "alignof", "and", "and_eq",
    "asm", "bitand", "bitor", "bool", "catch", "char16_t", "char32_t", "class", "compl",
    "constexpr", "const_cast", "decltype", "delete", "dynamic_cast", "explicit", "export",
    "false", "friend", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr",
    "operator", "or", "or_eq", "private", "protected", "public", "reinterpret_cast",
    "static_assert", "static_cast", "template", "this", "thread_local", "throw", "true", "try",
    "typeid", "typename", "using", "virtual", "wchar_t", "xor", "xor_eq", "main", "offsetof",
    "size_t", "ptrdiff_t", "NULL", "errno", "signal", "setup", "loop", "linux", "unix", "i386",
    "arm",
))
# In small letters, as names of files may be folded: headers that <prefix>.h would hide from the
# core, from a port or from each other; files that a project or a simulation has.
FILES = frozenset((
    "arduino", "arm_acle", "assert", "complex", "ctype", "errno", "fcntl", "features", "fenv",
    "float", "inttypes", "iso646", "limits", "locale", "math", "mm_malloc", "newlib", "pgmspace",
    "picolibc", "setjmp", "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib",
    "string", "strings", "syslimits", "termios", "tgmath", "time", "unistd", "wchar", "wctype",
    "main", "simulation", "start",
))
# fmt: on
# Vector headers of a PC's compiler, and names that are devices on Windows.
_FILE = re.compile(r"\w+intrin|con|prn|aux|nul|(com|lpt)[1-9]")
_STDINT_TYPE = re.compile(r"u?int((_fast|_least)?(8|16|32|64)|ptr|max)_t")

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")


def check_identifier(name: str) -> str:
    """
    `name`, if it can start every name of a generated file.

    Raises BpgenError for what is no C identifier of up to 31 letters, digits and underscores,
    for a reserved word, for the name of a file that is another's, and for bpgen's own `bp_` and
    `bpgen_`.
    """
    if not _IDENTIFIER.fullmatch(name):
        raise BpgenError(
            f"{name!r} cannot be a prefix: use a letter, then up to 30 letters, digits or '_'."
        )
    folded = name.lower()
    is_file = folded in FILES or _FILE.fullmatch(folded)
    is_word = name in RESERVED or _STDINT_TYPE.fullmatch(name)
    if is_file or is_word or folded == "bp" or folded.startswith(("bp_", "bpgen")):
        raise BpgenError(
            f"{name!r} is a reserved name: choose another prefix, such as 'my_{name}'."
        )
    return name


def integer(value: int) -> str:
    """A decimal literal of any s32; the most negative one has no literal of its own."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def rows(values: Sequence[int], width: int = 6, per_row: int = 8) -> tuple[str, ...]:
    """Initialiser rows of right-aligned integers: one changed weight is one changed line."""
    return tuple(
        ", ".join(f"{integer(v):>{width}}" for v in values[start : start + per_row]) + ","
        for start in range(0, len(values), per_row)
    )


def pairs(values: Sequence[int], name: str, per_row: int = 4) -> tuple[str, ...]:
    """The same of s8 weights, which a macro takes two at a time."""
    twos = [f"{name}({v:>5}, {w:>5})," for v, w in zip(values[::2], values[1::2], strict=True)]
    return tuple(" ".join(twos[at : at + per_row]) for at in range(0, len(twos), per_row))


def string(text: str) -> str:
    """
    A string literal that holds `text` in UTF-8, whatever it contains.

    All but plain letters, digits, spaces and `_-.,:;()+*/=<>` become octal escapes of three digits,
    so that no quote, backslash, newline or trigraph reaches the compiler.
    """
    plain = "_-.,:;()+*/=<> "
    return (
        '"'
        + "".join(
            chr(byte)
            if (chr(byte).isalnum() and byte < 128) or chr(byte) in plain
            else f"\\{byte:03o}"
            for byte in text.encode("utf-8", "surrogateescape")
        )
        + '"'
    )


def comment(text: str) -> str:
    """`text` as it can stand inside a comment: printable ASCII, no comment end, no line splice."""
    safe = "".join(c if " " <= c <= "~" and c not in "\\?" else "." for c in text)
    return safe.replace("*/", "*.").replace("/*", "/.")


def markdown(text: str) -> str:
    """`text` as it can stand inside a line of Markdown: nothing in it is markup or breaks it."""
    return "".join(
        (f"\\{c}" if c in "\\`*_[]<>&~|$" else c) if c.isprintable() else "." for c in text
    )
