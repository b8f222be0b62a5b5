"""GPU memory and utilisation while a job runs, by nvidia-ml-py where it is installed."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("sage.dataflow")


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One reading of one device.

    Attributes:
        index: the device's number on this machine, whatever CUDA_VISIBLE_DEVICES says.
        name: as the driver names it.
        memory_used: bytes, by all processes; None where the device does not tell.
        memory_total: bytes; None likewise.
        utilisation: share of the time, from 0 to 1, in which a kernel ran; None likewise.
        power: watts; None likewise.
    """

    index: int
    name: str
    memory_used: int | None
    memory_total: int | None
    utilisation: float | None
    power: float | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One device over a job's time; of the whole device, whoever used it.

    Attributes:
        index: the device's number on this machine.
        name: as the driver names it.
        memory_peak: the most bytes in use at a sample; None where the device does not tell.
        memory_total: bytes; None likewise.
        utilisation_mean: mean share of the time, from 0 to 1, in which a kernel ran; None likewise.
        samples: how many readings these are of.
        power_mean: mean watts; None likewise.
    """

    index: int
    name: str
    memory_peak: int | None
    memory_total: int | None
    utilisation_mean: float | None
    samples: int
    power_mean: float | None = None


class GpuProbe:
    """Gathers samples of every device.

    Args:
        read: returns a sample of each device.
    """

    def __init__(self, read: Callable[[], Sequence[GpuSample]]) -> None:
        self._read = read
        self._samples: dict[int, list[GpuSample]] = {}
        self._failed = False

    def probe(self, now: float) -> None:  # noqa: ARG002 - a sample has no time
        """Take a sample of each device; after an error, which is logged, none any more."""
        if self._failed:
            return
        try:
            samples = self._read()
        except Exception as error:  # noqa: BLE001 - the driver's own; figures are no job's business
            self._failed = True
            logger.warning("the GPUs cannot be read any more, so their figures end here: %s", error)
            return
        for sample in samples:
            self._samples.setdefault(sample.index, []).append(sample)

    def readings(self) -> tuple[GpuReading, ...]:
        """Return what was seen of each device so far."""
        return tuple(_reading(tuple(samples)) for samples in tuple(self._samples.values()))


def _reading(samples: Sequence[GpuSample]) -> GpuReading:
    memory = [sample.memory_used for sample in samples if sample.memory_used is not None]
    busy = [sample.utilisation for sample in samples if sample.utilisation is not None]
    power = [sample.power for sample in samples if sample.power is not None]
    return GpuReading(
        index=samples[0].index,
        name=samples[0].name,
        memory_peak=max(memory, default=None),
        memory_total=samples[0].memory_total,
        utilisation_mean=sum(busy) / len(busy) if busy else None,
        samples=len(samples),
        power_mean=sum(power) / len(power) if power else None,
    )


def open_gpus() -> GpuProbe | None:
    """Return a probe of this machine's NVIDIA GPUs, or None without any.

    Neither a missing nvidia-ml-py nor a missing driver is worth a word; a driver that fails is
    logged.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        devices = [
            nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())
        ]
        reader = _NvmlReader(nvml, devices)
    except nvml.NVMLError as error:
        absent = (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED)
        if error.value not in absent:
            logger.warning("GPU figures are left out, since the driver cannot be read: %s", error)
        return None
    return GpuProbe(reader.read) if devices else None


class _NvmlReader:
    """Reads devices through NVML, which stays loaded as long as the process runs."""

    def __init__(self, nvml: Any, devices: Sequence[Any]) -> None:
        self._nvml = nvml
        self._devices = devices
        self._names = [_text(nvml.nvmlDeviceGetName(device)) for device in devices]

    def read(self) -> list[GpuSample]:
        """Return a sample of each device."""
        return [
            self._sample(index, device, name)
            for index, (device, name) in enumerate(zip(self._devices, self._names, strict=True))
        ]

    def _sample(self, index: int, device: Any, name: str) -> GpuSample:
        memory = self._asked(self._nvml.nvmlDeviceGetMemoryInfo, device)
        rates = self._asked(self._nvml.nvmlDeviceGetUtilizationRates, device)
        milliwatts = self._asked(self._nvml.nvmlDeviceGetPowerUsage, device)
        return GpuSample(
            index=index,
            name=name,
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            utilisation=None if rates is None else rates.gpu / 100,
            power=None if milliwatts is None else milliwatts / 1000,
        )

    def _asked(self, question: Callable[[Any], Any], device: Any) -> Any:
        """Ask a device something that some (a slice of one, a laptop's) do not tell."""
        try:
            return question(device)
        except self._nvml.NVMLError as error:
            if error.value == self._nvml.NVML_ERROR_NOT_SUPPORTED:
                return None
            raise


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
