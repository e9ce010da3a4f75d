"""Ports: what opens, and the one sentence for what does not."""

from __future__ import annotations

import errno
import grp
import os
import socket
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from bpgen_host import link
from bpgen_host.link import LinkError, Unplugged, latency_timer, open_port


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """Both ends of a pseudo terminal: a descriptor, and the name of a port."""
    board, port = os.openpty()
    tty.setraw(board)
    name = os.ttyname(port)
    os.close(port)
    yield board, name
    try:
        os.close(board)
    except OSError:
        return


def test_bytes_go_both_ways_over_a_pty(pty: tuple[int, str]) -> None:
    board, name = pty
    port = open_port(name)
    port.write(b"\0hello\0")
    assert os.read(board, 100) == b"\0hello\0"
    os.write(board, bytes(range(256)))
    assert port.read(1.0) == bytes(range(256))
    assert port.read(0.0) == b""
    assert (port.name, port.baud) == (name, 115_200)
    port.reset()
    port.close()
    port.close()


def test_what_was_not_read_can_be_discarded(pty: tuple[int, str]) -> None:
    board, name = pty
    port = open_port(name, reset=False)
    os.write(board, b"old")
    port.discard()
    assert port.read(0.05) == b""
    port.close()


def test_an_end_of_the_other_side_is_told_as_unplugged(pty: tuple[int, str]) -> None:
    board, name = pty
    port = open_port(name)
    os.close(board)
    with pytest.raises(Unplugged, match="was unplugged, or its simulator ended"):
        port.read(5.0)
    port.close()


def test_a_port_in_use_is_told(pty: tuple[int, str]) -> None:
    _, name = pty
    port = open_port(name)
    with pytest.raises(LinkError, match="is in use by another program"):
        open_port(name)
    port.close()


def test_a_socket_serves_as_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(peer.recv(100))

        thread = threading.Thread(target=echo)
        thread.start()
        port = open_port(f"socket://127.0.0.1:{server.getsockname()[1]}")
        port.write(b"\0abc\0")
        received = b""
        while len(received) < 5:
            received += port.read(1.0)
        assert received == b"\0abc\0"
        assert port.baud is None
        port.close()
        thread.join()


def test_a_missing_port_names_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [link.PortInfo("/dev/ttyACM0", "Uno", "USB", None)]
    monkeypatch.setattr(link, "ports", lambda: there)
    with pytest.raises(LinkError, match=r"no port /dev/ttyACM9 .*choose one of /dev/ttyACM0"):
        open_port("/dev/ttyACM9")
    monkeypatch.setattr(link, "ports", list)
    with pytest.raises(LinkError, match="no port /dev/ttyACM9, and no other: connect the board"):
        open_port("/dev/ttyACM9")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.EACCES, "you may not open"),
        (errno.EBUSY, "is in use by another program"),
        (errno.EWOULDBLOCK, "is in use by another program"),
        (errno.EIO, "check that the board is connected"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    code: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(serial.Serial):
        def open(self) -> None:
            raise serial.SerialException(code, f"could not open port: {os.strerror(code)}")

    monkeypatch.setattr(serial, "serial_for_url", lambda *_, **__: Refusing())
    with pytest.raises(LinkError, match=text):
        open_port("/dev/ttyACM0")


def test_a_port_without_permission_names_its_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = tmp_path / "ttyACM0"
    port.touch()

    class Group:
        gr_name = "dialout"

    monkeypatch.setattr(grp, "getgrgid", lambda gid: Group)
    assert link.port_group(str(port)) == "dialout"
    assert "sudo usermod -aG dialout $USER" in link.way_in("dialout")
    Group.gr_name = "root"
    assert link.port_group(str(port)) is None
    assert "ask for the right" in link.way_in(None)


def test_where_there_are_no_groups_a_port_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "grp", None)
    assert link.port_group(str(tmp_path)) is None


@pytest.mark.parametrize("port", ["", "nonsense://x", "socket://", "/dev/null", "/"])
def test_what_is_no_port_is_one_sentence(port: str) -> None:
    with pytest.raises(LinkError, match=r"is no port|cannot open|no serial port"):
        open_port(port)


@pytest.mark.parametrize("baud", [-5, 0])
def test_a_baud_rate_that_cannot_be_is_one_sentence(baud: int, pty: tuple[int, str]) -> None:
    with pytest.raises(LinkError, match=f"cannot do {baud} baud"):
        open_port(pty[1], baud)


def test_the_latency_of_an_adapter_is_read_where_the_system_says_it(tmp_path: Path) -> None:
    folder = tmp_path / "ttyUSB0"
    folder.mkdir()
    (folder / "latency_timer").write_text("16\n")
    assert latency_timer("/dev/ttyUSB0", tmp_path) == 16
    assert latency_timer("/dev/ttyUSB1", tmp_path) is None
    (folder / "latency_timer").write_text("?")
    assert latency_timer("/dev/ttyUSB0", tmp_path) is None
