"""Several PaddleFormers processes, started and ended together; small programs stand in for PaddleFormers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ocrvl_modal.engines.base import STOPPED_EXIT_CODE
from ocrvl_modal.engines.trainer.stopping import SUPERVISOR_VARIABLE

TELL = "import os; print(sorted((k, v) for k, v in os.environ.items() if k.startswith(('PADDLE_', 'FLAGS_selected'))))"


def launch(folder: Path, count: int, program: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program]
    return subprocess.Popen(
        [sys.executable, "-m", "ocrvl_modal.engines.paddleformers.launch", str(count), str(folder), *command],
        env={**os.environ, SUPERVISOR_VARIABLE: str(os.getpid()), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    printed, _ = process.communicate(timeout=60)
    return process.returncode, printed


def variables(printed: str) -> dict[str, str]:
    return dict(eval(printed.strip()))


def test_each_process_knows_its_place_and_only_the_first_is_heard(tmp_path: Path) -> None:
    code, printed = ended(launch(tmp_path, 2, TELL, CUDA_VISIBLE_DEVICES=""))
    assert code == 0
    first, second = variables(printed), variables((tmp_path / "process-1.txt").read_text())
    assert (first["PADDLE_TRAINER_ID"], second["PADDLE_TRAINER_ID"]) == ("0", "1")
    endpoints = first["PADDLE_TRAINER_ENDPOINTS"].split(",")
    assert endpoints == [first["PADDLE_CURRENT_ENDPOINT"], second["PADDLE_CURRENT_ENDPOINT"]]
    assert first["PADDLE_MASTER"] == second["PADDLE_MASTER"]
    assert first["PADDLE_MASTER"] not in endpoints
    assert {first["PADDLE_TRAINERS_NUM"], second["PADDLE_TRAINERS_NUM"]} == {"2"}
    assert first["PADDLE_DISTRI_BACKEND"] == "gloo"


def test_each_process_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    code, printed = ended(launch(tmp_path, 2, TELL, CUDA_VISIBLE_DEVICES="4,5"))
    second = variables((tmp_path / "process-1.txt").read_text())
    assert code == 0
    assert (variables(printed)["FLAGS_selected_gpus"], second["FLAGS_selected_gpus"]) == ("0", "1")
    assert "PADDLE_DISTRI_BACKEND" not in second


def test_the_failure_of_one_ends_all_with_its_code(tmp_path: Path) -> None:
    program = "import os, sys, time\nif os.environ['PADDLE_TRAINER_ID'] == '1': sys.exit('no!')\ntime.sleep(300)"
    code, printed = ended(launch(tmp_path / "logs", 2, program, CUDA_VISIBLE_DEVICES=""))
    assert code == 1
    assert printed.splitlines()[-1] == "no!"


def test_all_are_asked_to_stop_and_given_their_time(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), print('saved'), sys.exit({STOPPED_EXIT_CODE})))\n"
        "open('ready-' + os.environ['PADDLE_TRAINER_ID'], 'w').close()\n"
        "time.sleep(300)"
    )
    process = launch(tmp_path, 2, f"import os; os.chdir({str(tmp_path)!r})\n{program}", CUDA_VISIBLE_DEVICES="")
    while len(list(tmp_path.glob("ready-*"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    code, printed = ended(process)
    assert (code, printed.strip()) == (STOPPED_EXIT_CODE, "saved")
    assert (tmp_path / "process-1.txt").read_text().strip() == "saved"


def test_all_end_with_their_process_group(tmp_path: Path) -> None:
    program = "import os, time; print(os.getpgid(0), flush=True); time.sleep(300)"
    process = launch(tmp_path, 1, program, CUDA_VISIBLE_DEVICES="")
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    os.killpg(process.pid, signal.SIGKILL)
    assert ended(process)[0] == -signal.SIGKILL
