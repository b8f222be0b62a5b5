"""GPU figures: none where there is no GPU, and the arithmetic where there is one."""

from __future__ import annotations

import logging
import shutil
import sys
from types import SimpleNamespace

import pytest

from sage.dataflow import LocalEnvironment
from sage.dataflow.gpu import GpuProbe, GpuReading, GpuSample, open_gpus


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="this machine has a GPU")
def test_without_a_gpu(caplog: pytest.LogCaptureFixture) -> None:
    """Without nvidia-ml-py, or a driver, there are no figures, and no word about it."""
    env = LocalEnvironment()
    env.from_collection([1]).sink(lambda _: None)
    result = env.submit(autostop=True, profile=True)
    assert open_gpus() is None
    assert result.gpus == ()
    assert not caplog.records


def test_peak_and_mean() -> None:
    """Of each device: the most memory, and the mean of the utilisation that it tells."""
    looks = iter(
        [
            [GpuSample(0, "a", 10, 80, 0.5), GpuSample(1, "b", None, None, None)],
            [GpuSample(0, "a", 30, 80, 1.0), GpuSample(1, "b", None, None, None)],
            [GpuSample(0, "a", 20, 80, None), GpuSample(1, "b", None, None, None)],
        ]
    )
    probe = GpuProbe(lambda: next(looks))
    for now in range(3):
        probe.probe(now)
    assert probe.readings() == (
        GpuReading(0, "a", 30, 80, 0.75, 3),
        GpuReading(1, "b", None, None, None, 3),
    )


def test_a_driver_that_fails_later(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; what was seen until then stays."""
    looks = iter([[GpuSample(0, "a", 10, 80, 0.5)]])

    def read() -> list[GpuSample]:
        try:
            return next(looks)
        except StopIteration:
            raise OSError("GPU is lost") from None

    probe = GpuProbe(read)
    with caplog.at_level(logging.WARNING, logger="sage.dataflow"):
        for now in range(3):
            probe.probe(now)
    assert [reading.samples for reading in probe.readings()] == [1]
    assert [record.getMessage() for record in caplog.records] == [
        "the GPUs cannot be read any more, so their figures end here: GPU is lost"
    ]


class NvmlError(Exception):
    """As the driver's library raises it."""

    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


def nvml(failing: int | None) -> SimpleNamespace:
    def init() -> None:
        if failing is not None:
            raise NvmlError(failing)

    def utilisation(device: int) -> SimpleNamespace:
        if device == 1:
            raise NvmlError(3)
        return SimpleNamespace(gpu=40)

    def power(device: int) -> int:
        if device == 1:
            raise NvmlError(3)
        return 250_000

    return SimpleNamespace(
        NVMLError=NvmlError,
        NVML_ERROR_LIBRARY_NOT_FOUND=12,
        NVML_ERROR_DRIVER_NOT_LOADED=9,
        NVML_ERROR_NOT_SUPPORTED=3,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda device: b"old" if device else "new",
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(used=7, total=9),
        nvmlDeviceGetUtilizationRates=utilisation,
        nvmlDeviceGetPowerUsage=power,
    )


def test_reading_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is profiled samples every device; what a device does not tell is None."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml(None))
    env = LocalEnvironment()
    env.from_collection([1]).sink(lambda _: None)
    plain, profiled = env.submit(autostop=True), env.submit(autostop=True, profile=True)
    assert plain.gpus == ()
    found = [(g.name, g.memory_peak, g.utilisation_mean, g.power_mean) for g in profiled.gpus]
    assert found == [("new", 7, 0.4, 250.0), ("old", 7, None, None)]
    assert profiled.as_dict()["gpus"][0]["memory_total"] == 9


@pytest.mark.parametrize(("error", "messages"), [(12, 0), (9, 0), (999, 1)])
def test_a_driver_that_is_not_there_or_fails(
    error: int, messages: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The package without a driver is no GPU; a driver that cannot be read is said."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml(error))
    with caplog.at_level(logging.WARNING, logger="sage.dataflow"):
        assert open_gpus() is None
    assert len(caplog.records) == messages
