"""Priorities handed on to engines that take them."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.gateway.bodies import with_priority
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

BODY = b' {"model": "m",\n "messages": [{"role": "user", "content": "{\xc3\xa9}"}], "x": 1.50}'


def test_the_engines_number_is_the_negative_of_ours() -> None:
    """vLLM serves the lowest first; all else stays byte for byte."""
    assert with_priority(BODY, 10) == BODY.replace(b"{", b'{"priority":-10,', 1)
    assert with_priority(BODY, -10) == BODY.replace(b"{", b'{"priority":10,', 1)


@pytest.mark.parametrize(
    ("body", "priority"),
    [(BODY, 0), (b'{"a": 1, "priority": 3}', 10), (b'{"priority": null}', 10)],
)
def test_normal_requests_and_those_that_say_it_themselves_stay(body: bytes, priority: int) -> None:
    """The very same bytes."""
    assert with_priority(body, priority) is body


JSON = st.dictionaries(st.text(), st.recursive(st.integers() | st.text() | st.none(), st.lists))


@given(JSON, st.integers(-1000, 1000), st.sampled_from(["", " ", "\n\t"]), st.booleans())
def test_any_object_stays_what_it_was(
    fields: dict[str, Any], priority: int, space: str, indented: bool
) -> None:
    """With the one field more; an empty object too."""
    text = space + json.dumps(fields, indent=1 if indented else None)
    told = json.loads(with_priority(text.encode(), priority))
    if priority and "priority" not in fields:
        assert told.pop("priority") == -priority
    assert told == fields


@pytest.mark.anyio
async def test_only_engines_that_take_priorities_are_told(kit: Any) -> None:
    """The others, which may refuse the field, get the client's bytes."""
    taking, plain = await kit.engine(), await kit.engine()
    served = await kit.gateway()
    served.gateway.add_instance(spec("taking", "t"), taking.url, priorities=True)
    served.gateway.add_instance(spec("plain", "p"), plain.url)
    async with httpx2.AsyncClient(base_url=served.url, trust_env=False) as client:
        for model in ("t", "p"):
            body = b'{"model": "%b", "messages": []}' % model.encode()
            for urgency in ("HIGH", "NORMAL", "-3"):
                answer = await client.post(
                    "/v1/chat/completions",
                    content=body,
                    headers={"x-request-priority": urgency},
                )
                assert answer.status_code == 200
    rest = b'"model": "t", "messages": []}'
    assert [one.body for one in taking.requests] == [
        b'{"priority":-10,' + rest,
        b"{" + rest,
        b'{"priority":3,' + rest,
    ]
    assert {one.body for one in plain.requests} == {b'{"model": "p", "messages": []}'}


def spec(id_: str, model: str) -> InstanceSpec:
    return InstanceSpec(id_, Kind.LLM, (model,))
