"""A firmware that computes wrongly is caught by the gradients that its board sends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bpgen.emit.write import write_folder
from bpgen.project import build, project_files
from bpgen_host import simulators
from bpgen_host.compare import check_gradients
from bpgen_host.device import Device
from bpgen_host.link import open_port
from tests.host.boards import Task, task
from tests.host.conftest import TOOLS

SIZES = (13, 8, 3)


def image(chosen: Task, folder: Path, edit: Callable[[str], str] = str) -> Path:
    """The Uno's image with `edit` applied to the generated network."""
    files = project_files(chosen.model, "net", "uno")
    files["net.c"] = edit(files["net.c"])
    write_folder(folder, files)
    return build(folder)


def flipped(source: str) -> str:
    """One bit of the shift behind a hidden delta is another."""
    changed, count = re.subn(
        r"(bp_delta_sigmoid\(s->dz1, sum, s->a1, )(\d+)", lambda m: f"{m[1]}{int(m[2]) ^ 1}", source
    )
    assert count == 1
    return changed


def test_every_gradient_of_an_uno_is_the_twins(tool: Callable[[str], str], tmp_path: Path) -> None:
    for name in TOOLS["uno"]:
        tool(name)
    chosen = task(SIZES)
    made = image(chosen, tmp_path / "firmware")
    with simulators.start("uno", made) as uno, Device(open_port(uno.port)) as device:
        device.hello()
        result = check_gradients(device, chosen.model, chosen.a0[:3], chosen.t[:3])
    assert result.passed
    assert result.elements == 3 * chosen.model.parameter_count


def test_one_flipped_bit_in_the_arithmetic_of_a_firmware_fails_the_check(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    for name in TOOLS["uno"]:
        tool(name)
    chosen = task(SIZES)
    made = image(chosen, tmp_path / "firmware", flipped)
    with simulators.start("uno", made) as uno, Device(open_port(uno.port)) as device:
        device.hello()
        result = check_gradients(device, chosen.model, chosen.a0[:3], chosen.t[:3])
    assert not result.passed
    assert result.different > 0


def test_the_command_tells_a_wrong_firmware_by_its_exit_code(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    for name in TOOLS["uno"]:
        tool(name)
    chosen = task(SIZES)
    model = tmp_path / "net.model.json"
    model.write_text(chosen.model.to_json(), encoding="utf-8")
    data = tmp_path / "data.csv"
    header = [*(f"x{i}" for i in range(SIZES[0])), "t"]
    rows = [[f"{i * 0.1 + j * 0.05:.3f}" for i in range(SIZES[0])] for j in range(3)]
    lines = [",".join(header), *(",".join([*row, f"class {j}"]) for j, row in enumerate(rows))]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for edit, code in ((str, 0), (flipped, 1)):
        made = image(chosen, tmp_path / f"firmware{code}", edit)
        with simulators.start("uno", made) as uno:
            # fmt: off
            command = [
                sys.executable, "-m", "bpgen_host", "gradcheck", "--port", uno.port, "--json",
                "--model", str(model), "--data", str(data),
            ]
            # fmt: on
            run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == code, run.stderr
        assert (json.loads(run.stdout)["different"] > 0) == (code == 1)
