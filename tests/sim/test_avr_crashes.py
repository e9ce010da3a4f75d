"""The stack and crashes of the simulated AVR, and its end."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.sim.avr_bench import ECHO, Bench

CRASH, TIMEOUT = 99, 124


RECURSION = """
uint8_t __attribute__((noinline)) deep(uint8_t n)
{
    volatile uint8_t room[10];

    room[0] = n;
    return n == 0 ? 0 : (uint8_t)(deep((uint8_t)(n - 1)) + room[0]);
}

int main(void)
{
    GPIOR2 = deep(DEPTH);
    for (;;) {
    }
}
"""


def test_peak_stack_grows_by_the_same_with_each_level(bench: Bench) -> None:
    peaks = []
    for depth in (10, 20, 40):
        image = bench.build(RECURSION, flags=(f"-DDEPTH={depth}", "-fno-optimize-sibling-calls"))
        peaks.append(bench.run(image).stats["stack_peak"])
    level, rest = divmod(peaks[1] - peaks[0], 10)
    assert rest == 0
    assert peaks[2] - peaks[1] == 20 * level
    # Return address, the array, and at most the frame pointer and two saved registers.
    assert 12 <= level <= 18
    assert bench.stats()["ram_free_min"] == 2048 - peaks[2]


def test_a_function_with_a_large_frame_is_counted_once(bench: Bench) -> None:
    """Between the writes of its two halves the stack pointer points anywhere."""
    image = bench.build(
        """
        uint8_t __attribute__((noinline)) framed(uint8_t n)
        {
            volatile uint8_t room[300];

            room[n] = n;
            return room[n];
        }

        int main(void)
        {
            uint8_t n;

            for (n = 0; n < 5; n++) {
                framed(n);
            }
            GPIOR2 = 0;
            for (;;) {
            }
        }
        """
    )
    run = bench.run(image, "--count", "framed")
    framed = run.stats["functions"]["framed"]
    assert framed["calls"] == 5
    assert framed["min"] == framed["max"]
    assert 304 <= run.stats["stack_peak"] <= 312


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("*(volatile uint8_t *)0x0900 = 1;", "Invalid write address"),
        ("(void)*(volatile uint8_t *)0x0900;", "Invalid read address"),
        ('__asm__ volatile(".word 0x0001");', "Invalid Opcode"),
        ("((void (*)(void))0x3000)();", "a jump outside the code"),
    ],
)
def test_a_crash_ends_the_run_and_names_the_place(bench: Bench, code: str, reason: str) -> None:
    run = bench.run(bench.build(f"int main(void) {{ {code} for (;;) {{ }} }}"))
    assert run.code == CRASH
    assert reason in run.complaints
    assert "in main" in run.complaints or code.startswith("((")
    assert len(run.complaints.splitlines()) == 1


def test_a_firmware_that_never_ends_is_stopped_at_the_limit(bench: Bench) -> None:
    image = bench.build("int main(void) { for (;;) { } }")
    run = bench.run(image, "--max-cycles", "123456")
    assert run.code == TIMEOUT


def test_a_counted_function_that_is_not_there_is_refused(bench: Bench) -> None:
    image = bench.build("int main(void) { for (;;) { } }")
    command = bench.command(image, "--count", "nowhere")
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("avr_sim: the image has no function nowhere")


def test_the_simulator_ends_with_the_process_that_started_it(bench: Bench) -> None:
    port = bench.folder / "port"
    command = bench.command(bench.build(ECHO % 16), "--pty", str(port))
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE); "
            "p.stdout.readline(); print('started', flush=True); sys.stdin.read()",
            *command,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "started\n"
    assert port.is_symlink()
    parent.kill()
    parent.communicate()
    limit = time.monotonic() + 10
    while port.is_symlink() and time.monotonic() < limit:
        time.sleep(0.02)
    assert not port.is_symlink()
    assert bench.stats()["cycles"] > 0
