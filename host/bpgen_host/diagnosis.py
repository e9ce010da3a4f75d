"""What this machine has for a board: ports and the right to them, compilers, simulators."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bpgen.targets import TARGETS
from bpgen_host import link, simulators

# Above this an adapter, not the line, decides how many small requests a second get through.
LATENCY_MS = 1
NONE = "there is none"
PACKAGES = ("bpgen", "numpy", "pyserial", "cobs", "click", "rich")


@dataclass(frozen=True)
class PortReport:
    """
    A serial port: its adapter, whether this user may open it, and the `group` that may.

    `latency_ms` is how long the adapter holds small packets back; None where that is not known.
    """

    device: str
    adapter: str
    latency_ms: int | None
    allowed: bool
    group: str | None


@dataclass(frozen=True)
class BoardReport:
    """What is missing to build firmware for a board and to simulate it: None, or NONE at all."""

    board: str
    build_lacks: str | None
    simulator_lacks: str | None


@dataclass(frozen=True)
class Diagnosis:
    """All of it; `advice` is sentences, each with the command that helps."""

    versions: dict[str, str]
    ports: tuple[PortReport, ...]
    boards: tuple[BoardReport, ...]
    advice: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Look at this machine; no port is opened."""
    ports = tuple(_port(info) for info in link.ports())
    boards = tuple(_board(name) for name in TARGETS)
    versions = {"python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return Diagnosis(versions, ports, boards, tuple(advice(ports)))


def advice(ports: tuple[PortReport, ...]) -> list[str]:
    """What to do about the ports."""
    found = []
    for port in ports:
        if not port.allowed:
            found.append(f"you may not open {port.device}: {link.way_in(port.group)}")
        if port.latency_ms is not None and port.latency_ms > LATENCY_MS:
            file = link.SYSFS / Path(port.device).name / "latency_timer"
            found.append(
                f"the adapter of {port.device} holds small packets back for {port.latency_ms} ms, "
                f"so that a board answers at most {1000 // port.latency_ms} times a second to "
                f"single requests: run 'echo {LATENCY_MS} | sudo tee {file}'"
            )
    if not ports:
        found.append(
            "there is no serial port: connect a board, or use --simulate BOARD in place of --port"
        )
    return found


def _port(info: link.PortInfo) -> PortReport:
    allowed = sys.platform == "win32" or os.access(info.device, os.R_OK | os.W_OK)
    return PortReport(
        info.device, info.description, info.latency_ms, allowed, link.port_group(info.device)
    )


def _board(name: str) -> BoardReport:
    target = TARGETS[name]
    build = _lacking([target.family.command, "make"]) if target.port else NONE
    return BoardReport(name, build, _simulator_lacks(name))


def _simulator_lacks(board: str) -> str | None:
    if board not in simulators.BOARDS:
        return NONE
    if board in simulators.QEMU_MACHINES:
        return _lacking([simulators.QEMU_MACHINES[board][0]])
    if board in simulators.AVR_CORES:
        missing = _lacking(["gcc"])
        if missing is None and ctypes.util.find_library("simavr") is None:
            return "libsimavr"
        return missing
    return None


def _lacking(programs: list[str]) -> str | None:
    return ", ".join(name for name in programs if shutil.which(name) is None) or None
