"""The gateways that are compared: how each is installed, and its command in plain proxy mode.

The peers from PyPI live in an environment of their own, since they pin their dependencies
otherwise than SAGE does. nginx comes with the system.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from _streams import CHAT_ANSWER, MODEL, PAGES

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-peers"
WHEEL_ENVIRONMENT = ROOT / ".venv-wheel"
REQUIREMENTS = ("litellm[proxy]", "vllm-router", "sglang-router", "smg", "py-spy")
_PACKAGES = ("vllm-router", "sglang-router", "smg", "litellm")


@dataclass(frozen=True)
class Place:
    """Where a gateway is to run.

    Attributes:
        port: it listens on.
        metrics: port for its metrics, where a gateway wants another one.
        backend: port of the one engine behind it.
        folder: its own, for its files.
        key: the API key that clients send.
    """

    port: int
    metrics: int
    backend: int
    folder: Path
    key: str

    @property
    def backend_url(self) -> str:
        return f"http://127.0.0.1:{self.backend}"


@dataclass(frozen=True)
class Launch:
    """How a gateway is started."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def shown(self, place: Place) -> str:
        """Return the command as anyone can read it, with no path of this machine."""
        text = " ".join(self.command)
        for path, name in (
            (f"{place.folder}/", ""),
            (f"{ENVIRONMENT}/bin/", ""),
            (f"{Path(sys.executable).parent}/", ""),
            (f"{WHEEL_ENVIRONMENT}/bin/", ""),
            ("/usr/sbin/", ""),
            (str(place.port), "PORT"),
            (str(place.metrics), "METRICS"),
            (place.backend_url, "ENGINE"),
        ):
            text = text.replace(path, name)
        return text


def sage(place: Place) -> Launch:
    """SAGE as its wheel installs it, with the scheduling core compiled.

    Raises:
        OSError: the environment is not there.
    """
    program = WHEEL_ENVIRONMENT / "bin" / "sage"
    if not program.exists():
        raise FileNotFoundError(f"there is no {program.name} in .venv-wheel; `make bench` makes it")
    return _sage(program, place)


def sage_python(place: Place) -> Launch:
    """SAGE in plain Python, as a checkout runs it."""
    return _sage(Path(sys.executable).parent / "sage", place)


def _sage(program: Path, place: Place) -> Launch:
    """SAGE as a user runs it: SLO policy and objectives, metrics, and a key that is checked."""
    digest = hashlib.sha256(place.key.encode()).hexdigest()
    config = place.folder / "gateway.toml"
    config.write_text(
        f'port = {place.port}\nscheduling_policy = "hybrid_slo"\napi_keys = ["sha256:{digest}"]\n'
        "slo_classes = { llm = { ttft_s = 1.0, tpot_s = 0.1 } }\n\n[[llm_backends]]\n"
        f'host = "127.0.0.1"\nport = {place.backend}\nmodel_name = "{MODEL}"\n',
        encoding="utf-8",
    )
    command = [str(program), "gateway", "start", "--foreground", "--config", str(config)]
    return Launch(command, {"SAGE_HOME": str(place.folder / "home")})


_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{rest}
}}
"""
_PROXY = """
  upstream engine {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
"""
_CANNED = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
{pages}
    location / {{ return 404 '{{}}'; }}
  }}
"""


def nginx_program() -> str:
    """Return the path of nginx.

    Raises:
        FileNotFoundError: it is not installed.
    """
    # Debian keeps it in sbin, which a user's PATH may lack.
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise FileNotFoundError("nginx is not installed; on Debian: apt-get install nginx-light")
    return program


def _nginx(folder: Path, rest: str) -> Launch:
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, rest=rest), encoding="utf-8")
    return Launch([nginx_program(), "-c", str(config), "-e", "stderr"])


def nginx(place: Place) -> Launch:
    """nginx with proxy_pass and kept-alive connections: the floor, it looks at nothing."""
    return _nginx(place.folder, _PROXY.format(port=place.port, backend=place.backend))


def canned(
    port: int, folder: Path, *, streamed: str | None = None, asked: Path | None = None
) -> Launch:
    """The engine stand-in for whole answers: an nginx that returns one chat answer.

    Args:
        port: it listens on.
        folder: its own.
        streamed: the events of a stream, to be answered with at once, all of them together.
        asked: file for a line a chat.
    """
    chat = "/v1/chat/completions"
    answers = {**PAGES, chat: streamed or CHAT_ANSWER}
    kind = "default_type text/event-stream; " if streamed else ""
    log = f"access_log {asked}; " if asked else ""
    pages = "\n".join(
        f"    location = {path} {{ {kind + log if path == chat else ''}return 200 '{body}'; }}"
        for path, body in answers.items()
    )
    return _nginx(folder, _CANNED.format(port=port, pages=pages))


def _python() -> str:
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError("not installed; run with --install-peers first")
    return str(python)


def _router(module: str, level: str) -> Callable[[Place], Launch]:
    """The three Rust routers are of one family and take the same options."""

    def launch(place: Place) -> Launch:
        # As modules, since two of these packages both install a script named smg.
        command = [_python(), "-m", f"{module}.launch_router", "--host", "127.0.0.1"]
        command += ["--port", str(place.port), "--worker-urls", place.backend_url]
        command += ["--policy", "round_robin", "--prometheus-host", "127.0.0.1"]
        command += ["--prometheus-port", str(place.metrics), "--log-level", level]
        return Launch(command)

    return launch


def litellm(place: Place) -> Launch:
    """LiteLLM with one worker; it refuses to start without a master key, so it checks one too."""
    config = place.folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n"
        f"      model: openai/{MODEL}\n      api_base: {place.backend_url}/v1\n"
        "      api_key: none\n",
        encoding="utf-8",
    )
    python = Path(_python())
    command = [str(python.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(place.port), "--num_workers", "1", "--telemetry", "False"]
    environment = {
        "LITELLM_MASTER_KEY": place.key,
        # Else it fetches a list of prices from the internet.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
    }
    return Launch(command, environment)


# In the order in which a round measures them.
GATEWAYS: dict[str, Callable[[Place], Launch]] = {
    "sage": sage,
    "sage-python": sage_python,
    "nginx": nginx,
    "vllm-router": _router("vllm_router", "error"),
    "sglang-router": _router("sglang_router", "error"),
    "smg": _router("smg", "error"),
    "litellm": litellm,
}


def install() -> None:
    """Make the environment of the peers, with the newest versions on the index.

    Raises:
        SystemExit: pip failed on every one of them.
    """
    if not (ENVIRONMENT / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--prefer-binary", "--upgrade"]
    if not subprocess.run([*pip, *REQUIREMENTS], check=False).returncode:
        return
    print("not all of them together; one by one:")
    # One that fails must not keep the others away; it is reported as missing by the run.
    codes = [subprocess.run([*pip, item], check=False).returncode for item in REQUIREMENTS]
    if all(codes):
        raise SystemExit("no peer could be installed")


def versions() -> dict[str, str]:
    """Return the version of each peer that is installed."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        told = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=True)
        found["nginx"] = told.stderr.strip().rpartition("/")[2]
    with contextlib.suppress(FileNotFoundError):
        script = (
            "import importlib.metadata as m, json\n"
            "print(json.dumps({d.metadata['name'].lower(): d.version for d in m.distributions()}))"
        )
        told = subprocess.run([_python(), "-c", script], capture_output=True, text=True, check=True)
        installed = json.loads(told.stdout)
        found |= {name: installed[name] for name in _PACKAGES if name in installed}
    return found
