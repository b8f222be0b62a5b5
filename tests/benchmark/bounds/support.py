"""Small loads and small engines, on which bounds are put to the test."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from sage.benchmark.classes import TrafficClass
from sage.benchmark.config import HybridBenchmarkConfig
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.summary import meets
from sage.benchmark.workload import PlannedRequest
from sage.inference.scheduling.slo import SLO

BLOCK = 16
CONFIG = HybridBenchmarkConfig(timeout_s=3.0)

_TIMES = {
    "b0": 6.0,
    "b1": 0.5,
    "b2": 1e-2,
    "p0": 5.0,
    "c1": 0.4,
    "c2": 1e-3,
    "h_in": 1.0,
    "h_out": 0.5,
    "floor": 10.0,
    "graph_tokens": 32,
}


def write_profiles(folder: Path) -> dict[str, str]:
    """Write small profiles: with room, cramped, with steps of all kinds, and for embeddings."""
    texts = {
        "kind": "embedding",
        "call_model": {
            "params_ms": {"call": 3.0, "token": 0.2, "h_in": 1.0},
            "max_tokens": 64,
            "max_texts": 4,
        },
    }
    files = {
        "roomy": _llm(num_gpu_blocks=400, max_num_seqs=16, max_num_batched_tokens=128),
        "cramped": _llm(num_gpu_blocks=16, max_num_seqs=5, max_num_batched_tokens=40),
        "uneven": _llm(
            times={"decode": [[1, 4.0], [2, 3.5], [4, 9.0]], "r0": 2.0, "d1": 0.2, "least": 3.0},
            num_gpu_blocks=40,
            max_num_seqs=8,
            max_num_batched_tokens=64,
        ),
        "texts": texts,
    }
    for name, profile in files.items():
        (folder / f"{name}.json").write_text(json.dumps(profile))
    return {name: str(folder / f"{name}.json") for name in files}


def _llm(times: dict[str, object] | None = None, **capacity: int) -> dict[str, object]:
    return {
        "step_model_for_a_simulator": {"params_ms": {**_TIMES, **(times or {})}},
        "f_capacity": {"block_size": 8, "max_model_len": 128, **capacity},
    }


def small_simulation(profiles: dict[str, str], name: str, engines: int) -> SimulationConfig:
    """Return engines of a profile, and one for embeddings."""
    return SimulationConfig(
        profile=profiles[name],
        engines=engines,
        embedding_profile=profiles["texts"],
        max_requests=8,
        hash_tokens=BLOCK,
    )


def good(
    requests: list[PlannedRequest], simulation: SimulationConfig, config: HybridBenchmarkConfig
) -> int:
    """Return how many are answered in time in the simulator."""
    return sum(map(meets, simulate(requests, config, simulation).exchanges))


_chat = st.tuples(
    st.integers(1, 90),
    st.integers(1, 20),
    st.sampled_from([0.03, 0.1, 0.4, None]),
    st.sampled_from([0.01, 0.02, 0.06, None]),
    st.sampled_from([0.1, 0.5, None]),
    st.integers(0, 2),
    st.booleans(),
)


@st.composite
def loads(draw: st.DrawFn, *, most: int = 30) -> list[PlannedRequest]:
    """Draw chat and embedding requests that come thick enough for some to be late."""
    gaps = draw(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.05]), min_size=1, max_size=most))
    requests, now = [], 0.0
    for index, gap in enumerate(gaps):
        now += gap
        if draw(st.integers(0, 4)) == 0:
            texts = PlannedRequest(
                index,
                now,
                TrafficClass.EMBEDDING,
                draw(st.integers(1, 80)),
                0,
                batch=draw(st.integers(1, 6)),
                slo=SLO(deadline_s=draw(st.sampled_from([0.02, 0.05, 0.2]))),
            )
            requests.append(texts)
            continue
        prompt, output, ttft, tpot, deadline, family, stream = draw(_chat)
        # Prompts of a family begin alike; family 0 has no blocks at all.
        blocks = tuple(100 * family + place for place in range(prompt // BLOCK)) if family else ()
        requests.append(
            PlannedRequest(
                index,
                now,
                TrafficClass.CHAT,
                prompt,
                output,
                blocks=blocks,
                slo=SLO(ttft, tpot, deadline),
                stream=stream,
            )
        )
    return requests
