"""``sage jobmanager`` and ``sage job`` as a person types them."""

from __future__ import annotations

import contextlib
import io
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage.cli.main import cli
from sage.cli.run import run_cli
from tests.support import running, wait_until

SAGE = str(Path(sys.executable).parent / "sage")

SCRIPT = """
import sys, time
from sage import RemoteEnvironment
env = RemoteEnvironment("typed", port=int(sys.argv[1]),
                        config={"checkpoint": {"dir": "checkpoints", "interval": 0.05}})
env.from_collection(range(int(sys.argv[2])), name="numbers").map(
    lambda record: time.sleep(0.002) or record, name="slow").sink("out.jsonl", name="out")
print(env.submit().id)
"""


def sage(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SAGE, *words], capture_output=True, text=True, check=False, timeout=40)


def here(*words: str) -> subprocess.CompletedProcess[str]:
    """Do the same in this process, which has imported what it needs already."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["sage", *words])
        code = run_cli(cli, "sage")
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture
def port(free_port: int) -> Iterator[int]:
    """The port of a manager in the background."""
    started = sage("jobmanager", "start", "--port", str(free_port))
    assert started.returncode == 0, started.stderr
    assert f"the job manager listens on http://127.0.0.1:{free_port}" in started.stdout
    pid = json.loads(here("jobmanager", "status", "--json").stdout)["pid"]
    yield free_port
    here("jobmanager", "stop")
    assert running([pid]) == []


def submit(port: int, records: int) -> str:
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", str(port), str(records)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_manager_and_a_job(port: int, isolated_home: Path) -> None:
    """From start to stop, with a job that is watched, looked at and deleted."""
    report = json.loads(here("jobmanager", "status", "--json").stdout)
    assert report["status"] == "ok"
    token = isolated_home / "sage" / "jobs" / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    again = sage("jobmanager", "start", "--port", "0")
    assert again.returncode == 4
    assert "another job manager has" in again.stderr

    id_ = submit(port, 300)
    watched = here("job", "watch", id_)
    assert (watched.returncode, watched.stderr.count("error")) == (0, 0)
    assert "numbers 300, slow 300, out 300" in watched.stderr
    assert "typed finished: 300 records in, 300 out, 0 failed" in watched.stdout
    listed = here("job", "list").stdout
    assert id_ in listed
    assert "finished" in listed
    assert json.loads(here("job", "list", "--json").stdout)[0]["id"] == id_
    shown = here("job", "show", id_).stdout
    assert "slow" in shown
    assert "300" in shown
    assert json.loads(here("job", "show", "--json", id_).stdout)["state"] == "finished"
    assert "job 'typed' finished" in here("job", "logs", "-n", "1", id_).stdout
    assert "µs/record" in here("job", "profile", id_).stdout
    assert here("job", "delete", id_).stdout == f"deleted job {id_}\n"
    unknown = here("job", "show", id_)
    assert unknown.returncode == 6
    assert f"no job {id_!r}" in unknown.stderr

    stopped = here("jobmanager", "stop")
    assert "stopped the job manager" in stopped.stdout
    assert running([report["pid"]]) == []
    assert here("jobmanager", "stop").stdout == "no job manager is running\n"
    assert here("jobmanager", "status").returncode == 1
    none = here("job", "list", "--port", str(port))
    assert none.returncode == 6
    assert "sage jobmanager start" in none.stderr
    assert none.stderr.count("\n") == 1


def test_stop_resume_and_cancel(port: int) -> None:
    """A job drains, goes on from its last checkpoint, and is then stopped at once."""
    id_ = submit(port, 10**6)

    def progress() -> dict[str, int]:
        found: dict[str, int] = json.loads(here("job", "show", "--json", id_).stdout)["progress"]
        return found or {}

    wait_until(lambda: progress().get("checkpoints", 0) > 0)
    assert here("job", "stop", id_).returncode == 0
    watched = here("job", "watch", id_)
    assert "typed stopped" in watched.stdout
    again = here("job", "stop", id_)
    assert "is stopped already" in again.stderr
    assert here("job", "resume", id_, "--checkpoint", "last").returncode == 2
    resumed = here("job", "resume", id_)
    assert resumed.returncode == 0, resumed.stderr
    wait_until(lambda: bool(progress().get("resumed_from")))
    assert here("job", "cancel", id_).returncode == 0
    watched = here("job", "watch", id_)
    assert watched.returncode == 1
    assert "typed cancelled" in watched.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--port", "70000"), 2, "port is 70000"),
        (("--tls-cert", "none.pem"), 2, "none.pem' is no file"),
        (("--tls-key", "none.pem"), 2, "give --tls-cert too"),
    ],
)
def test_mistakes_of_start_are_told_at_once(words: tuple[str, ...], code: int, says: str) -> None:
    """In one line, and nothing is left running."""
    told = here("jobmanager", "start", *words)
    assert (told.returncode, told.stderr.count("\n")) == (code, 1)
    assert says in told.stderr


def test_a_port_in_use_names_its_holder(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here another user's manager, so to speak."""
    with monkeypatch.context() as patch:
        patch.setenv("SAGE_HOME", str(Path("other").absolute()))
        told = sage("jobmanager", "start", "--port", str(port))
    assert told.returncode == 4
    assert f"port {port} for the job manager cannot be bound" in told.stderr
    assert "pid" in told.stderr


def test_a_token_that_others_can_read_is_not_used(isolated_home: Path) -> None:
    """Whoever has read it could run code."""
    token = isolated_home / "sage" / "jobs" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("secret")
    token.chmod(0o644)
    told = sage("jobmanager", "start", "--port", "0")
    assert told.returncode == 2
    assert "is open to other users" in told.stderr


def test_a_manager_that_speaks_tls(free_port: int) -> None:
    """Its own commands trust its certificate; plain HTTP is not answered."""
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-keyout key.pem -out cert.pem -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1",
        shell=True,
        check=True,
        capture_output=True,
    )
    wrong = sage("jobmanager", "start", "--port", "0", "--tls-cert", "key.pem")
    assert wrong.returncode == 2
    assert "the TLS files" in wrong.stderr
    words = ("--port", str(free_port), "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    started = sage("jobmanager", "start", *words)
    assert started.returncode == 0, started.stderr
    assert f"https://127.0.0.1:{free_port}" in started.stdout
    assert here("jobmanager", "status").returncode == 0
    assert here("job", "list").stdout == "there are no jobs\n"
    plain = here("job", "list", "--port", str(free_port))
    assert plain.returncode == 6
    assert plain.stderr.count("\n") == 1
    here("jobmanager", "stop")
