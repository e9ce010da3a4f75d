"""
Ports: the only module that knows pyserial. Everything else speaks to a `Transport`.
"""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bpgen.errors import BpgenError, suggestion

if TYPE_CHECKING:
    from typing import NoReturn

# How long one call to the operating system waits; deadlines are met to within it.
WAIT_S = 0.01

# A port takes 4 KB in 0.4 s at 115200 baud; one that takes nothing for this long is stuck.
WRITE_TIMEOUT_S = 5.0

# A capacitor turns the edge of DTR into the reset pulse of an Arduino, and charges within 10 ms.
RESET_PULSE_S = 0.05

SYSFS = Path("/sys/bus/usb-serial/devices")


class LinkError(BpgenError):
    """The line or the port is the problem, not the model or the data."""

    exit_code = 3


class Unplugged(LinkError):  # noqa: N818
    """The port went away while it was open."""


class Transport(Protocol):
    """A line to one board. Every method raises `Unplugged` once the board is gone."""

    name: str
    baud: int | None

    def read(self, timeout: float) -> bytes:
        """Give what has arrived, waiting up to `timeout` seconds for the first byte; b"" then."""

    def write(self, data: bytes) -> None:
        """Send all of `data`."""

    def reset(self) -> None:
        """Restart the board by a pulse on DTR; does nothing where there is no such line."""

    def discard(self) -> None:
        """Forget what has arrived and was not read."""

    def close(self) -> None:
        """Give the port back. May be called twice."""


class Wrapper:
    """A `Transport` that hands all on to another; made to be derived from."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.name = transport.name
        self.baud = transport.baud

    def read(self, timeout: float) -> bytes:
        """As the transport does."""
        return self._transport.read(timeout)

    def write(self, data: bytes) -> None:
        """As the transport does."""
        self._transport.write(data)

    def reset(self) -> None:
        """As the transport does."""
        self._transport.reset()

    def discard(self) -> None:
        """As the transport does."""
        self._transport.discard()

    def close(self) -> None:
        """As the transport does."""
        self._transport.close()


class PortInfo(NamedTuple):
    """A serial port of this machine; `latency_ms` is that of an FTDI adapter, else None."""

    device: str
    description: str
    hardware: str
    latency_ms: int | None


class SerialTransport:
    """A `Transport` over an open port of pyserial; made by `open_port`."""

    def __init__(self, port: Any, name: str, baud: int | None) -> None:
        self._port = port
        self.name = name
        self.baud = baud

    def read(self, timeout: float) -> bytes:
        """Give what has arrived, waiting up to `timeout` seconds for the first byte; b"" then."""
        deadline = time.monotonic() + timeout
        try:
            data = bytearray()
            while True:
                waiting = self._port.in_waiting
                if waiting:
                    data += self._port.read(waiting)
                if data or time.monotonic() >= deadline:
                    return bytes(data)
                data += self._port.read(1)
        except (OSError, TypeError) as error:
            self._gone(error)

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        from serial import SerialTimeoutException  # type: ignore[import-untyped]

        try:
            self._port.write(data)
        except SerialTimeoutException:
            raise LinkError(
                f"{self.name} takes no bytes: unplug the board, plug it in and try again"
            ) from None
        except (OSError, TypeError) as error:
            self._gone(error)

    def reset(self) -> None:
        """Restart the board by a pulse on DTR; does nothing where there is no such line."""
        try:
            self._port.dtr = False
            time.sleep(RESET_PULSE_S)
            self._port.dtr = True
        except OSError as error:
            # Sockets and ptys have no modem lines.
            if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, None):
                self._gone(error)

    def discard(self) -> None:
        """Forget what has arrived and was not read."""
        try:
            self._port.reset_input_buffer()
        except (OSError, TypeError) as error:
            self._gone(error)

    def close(self) -> None:
        """Give the port back. May be called twice."""
        try:
            self._port.close()
        except OSError:
            # What is gone needs no closing.
            return

    def _gone(self, error: Exception) -> NoReturn:
        raise Unplugged(
            f"{self.name} was unplugged, or its simulator ended: connect it again"
        ) from error


def open_port(port: str, baud: int = 115200, *, reset: bool = True) -> SerialTransport:
    """
    Open a serial port, a pty or a pyserial URL such as socket://localhost:2000.

    With `reset` the board is restarted by DTR; without it DTR stays off, as far as the system lets
    it. A pty has no such line. Raises LinkError, in one sentence, for a port that does not exist,
    is in use, is not permitted, or has no such baud rate.
    """
    import serial

    try:
        if not port:
            raise ValueError
        opened = serial.serial_for_url(port, do_not_open=True)
    except (ValueError, serial.SerialException):
        raise LinkError(
            f"{port!r} is no port: name one like {_example()}, or a URL like socket://localhost:2000"
        ) from None
    try:
        if baud < 1:
            raise ValueError
        opened.baudrate = baud
        opened.timeout = WAIT_S
        opened.write_timeout = WRITE_TIMEOUT_S
        if "://" not in port:
            opened.exclusive = True if os.name == "posix" else None
        if not reset:
            opened.dtr = False
        opened.open()
    except ValueError:
        raise LinkError(
            f"{port} cannot do {baud} baud: choose a rate that board and adapter have, such as "
            "115200"
        ) from None
    except OSError as error:
        _refuse(port, baud, error)
    transport = SerialTransport(opened, port, None if "://" in port else baud)
    if reset:
        transport.reset()
    return transport


def ports() -> list[PortInfo]:
    """The serial ports of this machine, USB ones first."""
    from serial.tools import list_ports  # type: ignore[import-untyped]

    found = sorted(list_ports.comports(), key=lambda port: (port.vid is None, port.device))
    return [
        PortInfo(port.device, port.description, port.hwid, latency_timer(port.device))
        for port in found
    ]


def latency_timer(port: str, sysfs: Path = SYSFS) -> int | None:
    """
    Tell how many ms the adapter of `port` holds small packets back.

    FTDI adapters do so for 16 ms, which halves the rate of small requests. None where it cannot be
    told: no such adapter, or no Linux.
    """
    try:
        return int((sysfs / Path(port).resolve().name / "latency_timer").read_text())
    except (OSError, ValueError):
        return None


def _refuse(port: str, baud: int, error: OSError) -> NoReturn:
    """Say why a port did not open."""
    # pyserial spells what termios says inside its own message.
    inside = re.search(r"\((\d+), ", str(error))
    code = int(inside[1]) if error.errno is None and inside else error.errno
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        text = f"there is no port {port}{_those_there(port)}"
    elif code in (errno.EBUSY, errno.EWOULDBLOCK):
        text = f"{port} is in use by another program: close that, for example a serial monitor"
    elif code in (errno.EACCES, errno.EPERM):
        text = f"you may not open {port}: {way_in(port_group(port))}"
    elif code in (errno.EINVAL, errno.ENOTTY) and Path(port).exists():
        text = f"{port} is no serial port, or cannot do {baud} baud: name one like {_example()}"
    else:
        reason = error.strerror or str(error).partition(": ")[2] or str(error)
        text = f"cannot open {port} ({reason.strip()}): check that the board is connected"
    raise LinkError(text) from None


def _those_there(port: str) -> str:
    there = [info.device for info in ports()][:8]
    if not there:
        return ", and no other: connect the board"
    return f"{suggestion(port, there)}: connect the board, or choose one of {', '.join(there)}"


def port_group(port: str) -> str | None:
    """The group whose members may open a port; None for root's, and where there are no groups."""
    try:
        import grp

        group = grp.getgrgid(Path(port).stat().st_gid).gr_name
    except (ImportError, KeyError, OSError):
        return None
    return None if group == "root" else group


def way_in(group: str | None) -> str:
    """How a user gets the right to open a port of `group`."""
    if group is None:
        return "ask for the right to open it"
    return (
        f"it belongs to the group {group}, so run 'sudo usermod -aG {group} $USER' and log in again"
    )


def _example() -> str:
    return "COM3" if os.name == "nt" else "/dev/ttyACM0"
