"""The job manager's HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import platform
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.job_manager import ManagerProcess
from tests.support import wait_until

from sage.dataflow.jobs.app import make_app
from sage.dataflow.jobs.manager import JobManager
from sage.dataflow.jobs.openapi import openapi_document
from sage.dataflow.jobs.routes import HEALTH, ROUTES
from sage.errors import UnknownJobError


@pytest.fixture
def http(manager: ManagerProcess) -> Iterator[httpx2.Client]:
    """A plain client that shows the token."""
    headers = {"authorization": f"Bearer {manager.token}"}
    url = f"http://127.0.0.1:{manager.port}"
    with httpx2.Client(base_url=url, headers=headers, trust_env=False) as client:
        yield client


def submission(**changes: Any) -> dict[str, Any]:
    versions = {"python": "3.11.0", "sage": "0.1.0", "cloudpickle": "3.1.0"}
    pipeline = base64.b64encode(b"no pickle").decode()
    return {"name": "by hand", "pipeline": pipeline, "versions": versions} | changes


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_but_health_needs_the_token(manager: ManagerProcess, route: Any) -> None:
    """Whatever it is shown instead."""
    url = f"http://127.0.0.1:{manager.port}{route.path.format(id='x')}"
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": manager.token}):
        answer = httpx2.request(route.method, url, headers=headers, trust_env=False)
        assert answer.status_code == (200 if route.path == HEALTH else 401)
        assert manager.token not in answer.text


def test_the_token_is_for_its_user_alone(manager: ManagerProcess) -> None:
    """Its file and the folder of jobs are closed to others, and no log has it."""
    assert stat.S_IMODE((manager.root / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(manager.root.stat().st_mode) == 0o700
    assert len(manager.token) >= 32
    assert manager.token not in manager.log


def test_the_document_describes_every_route(http: httpx2.Client) -> None:
    """And every schema that it refers to is in it."""
    document = http.get("/openapi.json").json()
    made = openapi_document(document["info"]["version"])
    assert document == json.loads(json.dumps(made))
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {(route.method, route.path) for route in ROUTES}
    schemas = document["components"]["schemas"]
    assert {"Submission", "JobView", "Progress", "OperatorReport"} <= set(schemas)


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"versions": {"python": "2.7.18", "sage": "0", "cloudpickle": "0"}}, 409, "2.7.18"),
        ({"nmae": "x"}, 400, "unknown field `nmae`"),
        ({"name": ""}, 400, "a job's name has 1 to 200 characters"),
        ({"resume": "first"}, 400, "$.resume"),
        ({"recovery": {"restart": {"strategy": "fixed_dealy"}}}, 400, "fixed_delay"),
    ],
)
def test_wrong_submissions(
    http: httpx2.Client, changes: dict[str, Any], status: int, says: str
) -> None:
    """Are refused with what is wrong, and leave no job behind."""
    before = http.get("/jobs").json()
    here = http.get("/openapi.json").json()["info"]["version"]
    versions = submission()["versions"] | {"sage": here, "python": platform.python_version()}
    answer = http.post("/jobs", json=submission(**{"versions": versions, **changes}))
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert http.get("/jobs").json() == before


def test_a_pickle_that_cannot_be_read_fails_the_job(
    http: httpx2.Client, manager: ManagerProcess
) -> None:
    """The manager never looks into it; the driver says what is wrong."""
    here = http.get("/openapi.json").json()["info"]["version"]
    versions = submission()["versions"] | {"sage": here, "python": platform.python_version()}
    answer = http.post("/jobs", json=submission(versions=versions))
    assert answer.status_code == 201
    id_ = answer.json()["id"]
    job = http.get(f"/jobs/{id_}/result?wait=20").json()["job"]
    assert job["state"] == "failed"
    assert job["error"].startswith("the pipeline cannot be loaded here")
    assert job["progress"]["error"] == job["error"]


def test_unknown_jobs_and_paths(http: httpx2.Client, manager: ManagerProcess) -> None:
    """Are told as such."""
    for path in ("/jobs/none", "/jobs/none/log", "/jobs/none/result", "/jobs/none/metrics"):
        answer = http.get(path)
        assert answer.status_code == 404
        assert "no job 'none'" in answer.json()["error"]["message"]
    assert http.get("/job").status_code == 404
    assert http.get("/jobs/none/stop").status_code == 405
    assert http.get("/jobs/none/log?lines=many").status_code == 400
    client = manager.client()
    with pytest.raises(UnknownJobError, match="no job 'none'"):
        client.order("none", "stop")
    client.close()


def test_the_life_of_a_job_over_http(http: httpx2.Client, manager: ManagerProcess) -> None:
    """Listed, shown, followed, cancelled, deleted."""
    env = manager.environment("lived", batch_size=7)
    env.from_collection(range(10**7)).map(lambda record: time.sleep(0.01) or record).sink(print)
    id_ = env.submit().id
    wait_until(lambda: http.get(f"/jobs/{id_}").json()["state"] == "running")
    (listed,) = (job for job in http.get("/jobs").json()["jobs"] if job["id"] == id_)
    assert listed["config"] == {"batch_size": 7}
    assert http.get(f"/jobs/{id_}/result").status_code == 202
    assert http.get(f"/jobs/{id_}/metrics").json()["status"] == "running"
    refused = http.delete(f"/jobs/{id_}")
    assert refused.status_code == 409
    assert "is running; stop or cancel it" in refused.json()["error"]["message"]
    assert http.post(f"/jobs/{id_}/resume", json={"checkpoint": 3}).status_code == 409
    with http.stream("GET", f"/jobs/{id_}/log?follow=true") as log:
        lines = log.iter_lines()
        assert next(lines)
        assert http.post(f"/jobs/{id_}/cancel").status_code == 200
        assert "cancelled" in list(lines)[-1]
    assert http.get(f"/jobs/{id_}/result?wait=20").json()["job"]["state"] == "cancelled"
    assert http.post(f"/jobs/{id_}/stop").status_code == 409
    assert http.get(f"/jobs/{id_}/log?lines=1").text.count("\n") == 1
    folder = manager.root / id_
    assert folder.is_dir()
    assert http.delete(f"/jobs/{id_}").status_code == 204
    assert http.get(f"/jobs/{id_}").status_code == 404
    assert not folder.exists()


def test_a_request_that_is_too_large(tmp_path: Path) -> None:
    """Is refused before the whole of it is in memory, and says what to do."""
    manager = JobManager(tmp_path)
    app = make_app(manager, "secret", most_bytes=1000)

    async def post() -> httpx2.Response:
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://manager"
        ) as client:
            headers = {"authorization": "Bearer secret"}
            return await client.post("/jobs", content=b"x" * 1001, headers=headers)

    answer = asyncio.run(post())
    manager.close()
    assert answer.status_code == 413
    assert "larger than 1,000 bytes" in answer.json()["error"]["message"]
