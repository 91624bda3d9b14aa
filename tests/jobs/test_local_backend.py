"""Jobs in processes of this machine: what they tell, how they end, and that none is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import wait_until
from jobs.standin import House
from ocrvl_modal import locks
from ocrvl_modal.app import SHORT_JOBS
from ocrvl_modal.backends import local
from ocrvl_modal.backends.base import StagedDataset
from ocrvl_modal.backends.local import LocalBackend, kill_run
from ocrvl_modal.backends.opening import open_backend
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.recipes import TrainRecipe, recipe_from
from ocrvl_modal.runs.record import RecordWriter
from ocrvl_modal.settings import BackendChoice

Program = Callable[[str], None]


def nothing(*_: object) -> None:
    """Progress that nobody wants."""


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "home")


@pytest.fixture
def job_is(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Return what makes a small program the job's process; it has ``request`` and ``result``, two paths."""

    def set_program(program: str) -> None:
        head = "import json, os, sys, time\nfrom pathlib import Path\nrequest, result = map(Path, sys.argv[1::2])\n"

        def worker(job: str, request: Path, *more: str) -> list[str]:
            return [sys.executable, "-I", "-S", "-c", head + program, str(request), *more]

        monkeypatch.setattr(local, "_worker", worker)

    return set_program


ANSWER = "result.write_text(json.dumps({'result': {'echo': json.loads(request.read_text())}}))\n"


class TestCall:
    def test_a_request_goes_there_with_the_places_and_the_result_comes_back(
        self, backend: LocalBackend, job_is: Program
    ) -> None:
        job_is(ANSWER)
        result = backend.call("infer", {"model": "/models/tiny"}, on_progress=nothing)
        assert result == {"echo": {"model": "/models/tiny", "places": backend.places.model_dump(mode="json")}}
        assert list(backend.places.scratch.iterdir()) == []

    def test_progress_is_told_while_the_job_runs_and_nothing_else_is(
        self, backend: LocalBackend, job_is: Program
    ) -> None:
        job_is(
            """
print('@progress ["reading", 1, 2]', file=sys.stderr, flush=True)
print("a library's warning", file=sys.stderr)
print('@progress nonsense', file=sys.stderr)
print('@progress ["reading", 2, 2]', file=sys.stderr)
"""
            + ANSWER
        )
        told: list[tuple[str, int, int]] = []
        backend.call("infer", {}, on_progress=lambda *progress: told.append(progress))
        assert told == [("reading", 1, 2), ("reading", 2, 2)]

    def test_an_error_for_the_user_is_raised_here_as_it_was_there(self, backend: LocalBackend) -> None:
        """By the real worker."""
        with pytest.raises(OcrvlError, match="no model named 'tyni'") as caught:
            backend.call("download", {"model": "tyni"}, on_progress=nothing)
        assert caught.value.code == ExitCode.NOT_FOUND
        assert "'tiny'" in caught.value.hint

    def test_a_job_that_crashes_shows_its_last_lines(self, backend: LocalBackend, job_is: Program) -> None:
        job_is("for n in range(50): print('line', n, file=sys.stderr)\nraise SystemExit(3)")
        with pytest.raises(OcrvlError) as caught:
            backend.call("infer", {}, on_progress=nothing)
        assert caught.value.message.splitlines() == [
            "the job 'infer' ended with exit code 3",
            *(f"line {n}" for n in range(35, 50)),
        ]
        assert caught.value.code == ExitCode.FAILED

    def test_a_job_that_is_killed_says_by_what(self, backend: LocalBackend, job_is: Program) -> None:
        job_is("os.kill(os.getpid(), 9)")
        with pytest.raises(OcrvlError, match="the job 'infer' was killed by signal 9"):
            backend.call("infer", {}, on_progress=nothing)

    def test_a_request_that_the_job_cannot_take_is_a_fault_of_ours_and_shown(self, backend: LocalBackend) -> None:
        """By the real worker."""
        with pytest.raises(OcrvlError, match="ValidationError"):
            backend.call("download", {"modell": "tiny"}, on_progress=nothing)

    def test_what_the_system_refuses_a_job_is_told_in_words(self, backend: LocalBackend) -> None:
        """By the real worker: the models store is a file."""
        backend.places.models.parent.mkdir(parents=True)
        backend.places.models.write_text("")
        with pytest.raises(OcrvlError) as caught:
            backend.call("download", {"model": "tiny"}, on_progress=nothing)
        assert str(backend.places.models) in caught.value.message
        assert "ended with exit code" not in caught.value.message
        assert "permissions" in caught.value.hint

    def test_a_job_that_was_interrupted_interrupts_the_caller(self, backend: LocalBackend, job_is: Program) -> None:
        job_is("result.write_text(json.dumps({'interrupted': True}))\nsys.exit(1)")
        with pytest.raises(OcrvlError) as caught:
            backend.call("infer", {}, on_progress=nothing)
        assert caught.value.code == ExitCode.INTERRUPTED

    @pytest.mark.parametrize("ignores", [False, True])
    def test_an_interrupted_caller_leaves_no_job_behind(
        self, backend: LocalBackend, job_is: Program, monkeypatch: pytest.MonkeyPatch, ignores: bool
    ) -> None:
        monkeypatch.setattr(local, "_END_WAIT_S", 0.2)
        job_is(
            ("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if ignores else "")
            + """
print('@progress ["running", ' + str(os.getpid()) + ', 0]', file=sys.stderr, flush=True)
time.sleep(60)
"""
        )
        jobs: list[int] = []

        def interrupt(_what: str, done: int, _total: int) -> None:
            jobs.append(done)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backend.call("infer", {}, on_progress=interrupt)
        assert not Path(f"/proc/{jobs[0]}").exists()
        assert list(backend.places.scratch.iterdir()) == []


@contextmanager
def a_job_that_waits(backend: LocalBackend, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real worker, in a download whose server never answers."""
    request = tmp_path / "request.json"
    request.write_text(
        json.dumps({"places": backend.places.model_dump(mode="json"), "model": "paddleocr-vl-1.6", "revision": "main"})
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = subprocess.Popen(
            local._worker("download", request, "--result", str(tmp_path / "result.json")),
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "no_proxy": "127.0.0.1"},
        )
        try:
            server.settimeout(60)
            connection, _ = server.accept()
            with connection:
                yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def test_a_worker_whose_job_has_ended_ends_quietly_while_its_caller_still_listens(
    backend: LocalBackend, tmp_path: Path
) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"places": backend.places.model_dump(mode="json"), "model": "tyni"}))
    with subprocess.Popen(
        local._worker("download", request, "--result", str(tmp_path / "result.json")),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_worker_ends_with_its_caller(backend: LocalBackend, tmp_path: Path) -> None:
    with a_job_that_waits(backend, tmp_path) as process:
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 1
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_gets_a_signal_answers_that_it_was_interrupted(
    backend: LocalBackend, tmp_path: Path, number: int
) -> None:
    with a_job_that_waits(backend, tmp_path) as process:
        process.send_signal(number)
        assert process.wait(20) == 1
    assert json.loads((tmp_path / "result.json").read_text()) == {"interrupted": True}


def test_a_training_job_that_cannot_even_begin_says_why_in_its_supervisors_log(house: House) -> None:
    house.submit("a")
    house.layout("a").recipe.write_text("no_such_key: 1\n")
    request = house.layout("a").attempt(1).request
    request.parent.mkdir(parents=True, exist_ok=True)
    request.write_text(json.dumps(house.backend.requests[0]))
    done = subprocess.run(local._worker("train", request), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "unknown recipe key 'no_such_key'" in done.stderr
    assert "Traceback" not in done.stderr


# Holds the lock that it inherited, as a supervisor does, and writes down what signal it gets.
SUPERVISOR = """
import os, signal, sys, time
def note(number, _):
    open(sys.argv[1], "w").write(signal.Signals(number).name)
    os._exit(0)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, note)
print("up", flush=True)
time.sleep(60)
"""


@contextmanager
def supervisor(house: House, note: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works on run ``a``."""
    lock = locks.acquire(house.layout("a").lock)
    assert lock is not None
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SUPERVISOR, str(note)], pass_fds=(lock,), stdout=subprocess.PIPE
    )
    os.close(lock)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def write_call_id(house: House, process: int) -> None:
    RecordWriter(house.layout("a").record, house.record("a")).update_attempt(call_id=str(process))


@pytest.mark.parametrize(("kind", "name"), [("cancel", "SIGTERM"), ("interrupt", "SIGINT")])
def test_stopping_signals_the_process_that_works_on_the_run(
    house: House, tmp_path: Path, kind: local.StopKind, name: str
) -> None:
    house.submit("a")
    with supervisor(house, tmp_path / "note") as process:
        write_call_id(house, process.pid)
        house.backend.stop(house.record("a"), kind)
        process.wait(20)
    assert (tmp_path / "note").read_text() == name


def test_stopping_a_run_that_was_just_started_waits_for_its_process_to_say_who_it_is(
    house: House, tmp_path: Path
) -> None:
    before = house.submit("a")
    with supervisor(house, tmp_path / "note") as process:
        stopper = threading.Thread(target=house.backend.stop, args=(before, "cancel"))
        stopper.start()
        time.sleep(0.1)
        assert process.poll() is None
        write_call_id(house, process.pid)
        stopper.join(20)
        process.wait(20)
    assert (tmp_path / "note").read_text() == "SIGTERM"


def test_stopping_a_run_that_goes_on_does_not_signal_the_process_of_an_attempt_that_has_ended(
    house: House, tmp_path: Path
) -> None:
    """While a run is started again its record still tells of the attempt before, whose number may be anybody's."""
    house.train("a", die_at=3)
    with supervisor(house, tmp_path / "innocent") as innocent:
        write_call_id(house, innocent.pid)
        stopper = threading.Thread(target=house.backend.stop, args=(house.record("a"), "cancel"))
        stopper.start()
        time.sleep(0.2)
        assert innocent.poll() is None
    stopper.join(20)
    assert not (tmp_path / "innocent").exists()


def test_stopping_a_run_that_nobody_works_on_does_nothing(house: House, tmp_path: Path) -> None:
    house.submit("a")
    write_call_id(house, os.getpid())
    house.backend.stop(house.record("a"), "cancel")


def test_a_run_is_alive_as_long_as_its_process(house: House, tmp_path: Path) -> None:
    record = house.submit("a")
    assert not house.backend.pulse(record).alive
    with supervisor(house, tmp_path / "note") as process:
        assert house.backend.pulse(record).alive
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not house.backend.pulse(record).alive


def test_a_kill_on_purpose_ends_supervisor_and_engine_and_waits_for_it(house: House, tmp_path: Path) -> None:
    house.submit("a")
    engine = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"], start_new_session=True)
    house.layout("a").engine_group.write_text(str(engine.pid))
    with supervisor(house, tmp_path / "note") as process:
        write_call_id(house, process.pid)
        killed_by_itself = threading.Thread(target=process.wait)
        killed_by_itself.start()
        kill_run(house.places, house.record("a"))
        killed_by_itself.join(20)
        assert process.returncode == -signal.SIGKILL
    assert engine.wait(20) == -signal.SIGKILL
    kill_run(house.places, house.record("a"))


def test_a_spawned_job_holds_the_runs_lock_after_its_starter_and_has_its_own_session(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        local, "_worker", lambda *_: [sys.executable, "-I", "-S", "-c", SUPERVISOR, str(tmp_path / "note")]
    )
    spawned: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remembering(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        spawned.append(popen(*arguments, **options))  # type: ignore[call-overload]
        return spawned[-1]

    monkeypatch.setattr(subprocess, "Popen", remembering)
    with backend.reserve("a") as slot:
        call = int(slot.spawn({"name": "a", "resume_from": None}, 1))
    lock = backend.places.outputs / "a" / ".lock"
    assert locks.is_held(lock)
    assert os.getsid(call) == call
    request = json.loads((backend.places.outputs / "a" / "attempts" / "1" / "request.json").read_text())
    assert request == {"name": "a", "resume_from": None, "places": backend.places.model_dump(mode="json")}
    with pytest.raises(OcrvlError, match="another process works on run 'a'"), backend.reserve("a"):
        pass
    os.kill(call, signal.SIGKILL)
    spawned[0].wait()
    wait_until(lambda: not locks.is_held(lock), "the lock")


def test_a_dataset_is_read_where_it_lies(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def staged(reference: str) -> StagedDataset:
        return backend.stage_datasets({"train": reference}, lambda *_: None)["train"]

    monkeypatch.chdir(tmp_path)
    assert staged("./x.jsonl") == StagedDataset(str(tmp_path / "x.jsonl"))
    backend.stores.write_bytes("/data/x.jsonl", b"")
    assert staged("/data/x.jsonl") == StagedDataset("/data/x.jsonl")
    assert backend.readable_path("/data/x.jsonl") == backend.places.data / "x.jsonl"
    with pytest.raises(OcrvlError, match=r"no /data/y\.jsonl") as caught:
        staged("/data/y.jsonl")
    assert caught.value.code == ExitCode.NOT_FOUND


def test_libraries_that_are_not_installed_are_named_with_the_command_that_installs_them(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.require_ready()
    monkeypatch.setattr(local, "_READING", ("json", "no_such_library"))
    with pytest.raises(OcrvlError, match="need no_such_library") as caught:
        backend.require_ready()
    assert caught.value.hint == "pip install 'ocrvl-modal[local]'"


def test_an_engine_that_is_not_installed_is_named_with_the_command_that_installs_it(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(local.LIBRARIES, "paddleformers", ("json", "no_such_paddle"))
    backend.require_ready("transformers")
    with pytest.raises(OcrvlError, match="need no_such_paddle") as caught:
        backend.require_ready("paddleformers")
    assert "pip install 'ocrvl-modal[paddle]'" in caught.value.hint


@pytest.mark.parametrize(("found", "words"), [([], "CPU cores, no GPU"), (["A100", "A100"], "A100, A100")])
def test_the_plan_says_what_this_machine_has(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, found: list[str], words: str
) -> None:
    monkeypatch.setattr(local, "visible_gpus", lambda: found)
    assert words in backend.describe(TrainRecipe())
    assert "L40S is asked for on Modal only" in backend.describe(recipe_from({}, ["hardware.gpu=L40S"]))


def test_the_chosen_backend_is_opened_in_the_chosen_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCRVL_HOME", str(tmp_path / "elsewhere"))
    opened = open_backend(BackendChoice("local", "--backend"))
    assert opened.places.outputs == tmp_path / "elsewhere" / "stores" / "outputs"


def test_only_jobs_that_make_or_run_a_model_need_the_libraries_for_it() -> None:
    assert set(SHORT_JOBS) - set(local._WITHOUT_LIBRARIES) == {"download", "evaluate", "infer"}
