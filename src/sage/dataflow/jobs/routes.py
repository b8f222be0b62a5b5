"""The manager's HTTP routes, for the application and for its OpenAPI document alike."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from sage.dataflow.jobs.wire import (
    Health,
    JobList,
    JobOutcome,
    JobView,
    Progress,
    ResumeOrder,
    Submission,
)

HEALTH = "/health"
OPENAPI = "/openapi.json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query.

    Attributes:
        name: of it.
        kind: its type in JSON Schema.
        doc: what it means.
    """

    name: str
    kind: str
    doc: str


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One route.

    Attributes:
        name: of the handler, and the operation's id.
        method: of HTTP.
        path: with its parameters in braces.
        doc: what it does.
        answer: what a good answer holds; None for text, or nothing with status 204.
        status: of a good answer.
        body: what a request holds; None for nothing.
        query: its parameters.
        refusals: other statuses, and when they are given.
    """

    name: str
    method: str
    path: str
    doc: str
    answer: type[msgspec.Struct] | None
    status: int = 200
    body: type[msgspec.Struct] | None = None
    query: tuple[Parameter, ...] = ()
    refusals: tuple[tuple[int, str], ...] = ()


_UNKNOWN = (404, "there is no job of that id")
_STATE = (409, "the job's state does not allow it")

ROUTES = (
    RouteSpec("health", "GET", HEALTH, "Say that the manager is there. Needs no token.", Health),
    RouteSpec("openapi", "GET", OPENAPI, "This document.", None),
    RouteSpec(
        "submit",
        "POST",
        "/jobs",
        "Run a pipeline.",
        JobView,
        status=201,
        body=Submission,
        refusals=(
            (400, "the submission is wrong"),
            (409, "its versions are not the manager's"),
            (413, "it is too large"),
        ),
    ),
    RouteSpec("jobs", "GET", "/jobs", "All jobs, the newest first.", JobList),
    RouteSpec("job", "GET", "/jobs/{id}", "A job and its progress.", JobView, refusals=(_UNKNOWN,)),
    RouteSpec(
        "delete",
        "DELETE",
        "/jobs/{id}",
        "Forget a job that has ended; its checkpoints stay.",
        None,
        status=204,
        refusals=(_UNKNOWN, _STATE),
    ),
    RouteSpec(
        "metrics",
        "GET",
        "/jobs/{id}/metrics",
        "What the operators have done until now, or did.",
        Progress,
        refusals=(_UNKNOWN, (409, "no driver has said anything yet")),
    ),
    RouteSpec(
        "result",
        "GET",
        "/jobs/{id}/result",
        "How a job ended.",
        JobOutcome,
        query=(Parameter("wait", "number", "Seconds to wait for its end, up to 30."),),
        refusals=(_UNKNOWN, (202, "it has not ended yet; the body is empty")),
    ),
    RouteSpec(
        "log",
        "GET",
        "/jobs/{id}/log",
        "What the job has written, as text.",
        None,
        query=(
            Parameter("lines", "integer", "So many of the last lines; all by default."),
            Parameter("follow", "boolean", "Go on with what is added, until the job ends."),
        ),
        refusals=(_UNKNOWN,),
    ),
    RouteSpec(
        "stop",
        "POST",
        "/jobs/{id}/stop",
        "Have a job drain: its sources end, and what they gave flows through.",
        JobView,
        refusals=(_UNKNOWN, _STATE),
    ),
    RouteSpec(
        "cancel",
        "POST",
        "/jobs/{id}/cancel",
        "Have a job stop at once.",
        JobView,
        refusals=(_UNKNOWN, _STATE),
    ),
    RouteSpec(
        "resume",
        "POST",
        "/jobs/{id}/resume",
        "Have a job that has ended go on from a checkpoint.",
        JobView,
        body=ResumeOrder,
        refusals=(_UNKNOWN, _STATE),
    ),
)
