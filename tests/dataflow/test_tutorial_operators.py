"""The tutorial's dataflow snippets, as written there."""

# The classes stand here exactly as in the tutorial.
# ruff: noqa: B905, E402, I001, RET504

import time
from types import SimpleNamespace
from typing import Any

import pytest

from sage.common.core.functions.map_function import MapFunction
from sage.kernel.api.local_environment import LocalEnvironment

client = SimpleNamespace(generate=lambda prompt, max_tokens: prompt.upper())
loaded: list[str] = []


class Model:
    def predict(self, data: int) -> int:
        return data + 1


def load_model() -> Model:
    loaded.append("model")
    return Model()


# fmt: off
class ProfiledOperator(MapFunction):
    """带性能分析的算子"""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.total_time = 0
        self.call_count = 0

    def execute(self, data):
        start = time.perf_counter()

        result = self._process(data)

        elapsed = time.perf_counter() - start
        self.total_time += elapsed
        self.call_count += 1

        # 每 100 次输出统计
        if self.call_count % 100 == 0:
            avg_time = self.total_time / self.call_count * 1000
            print(f"[{self.__class__.__name__}] "
                  f"调用次数: {self.call_count}, "
                  f"平均耗时: {avg_time:.2f}ms")

        return result

    def _process(self, data):
        # 子类重写此方法
        return data


class BatchLLMOperator(MapFunction):
    """批量 LLM 请求算子"""

    def __init__(self, batch_size=8, timeout=5.0, **kwargs):
        super().__init__(**kwargs)
        self.batch_size = batch_size
        self.timeout = timeout
        self.buffer = []
        self.last_flush = time.time()

    def execute(self, data):
        self.buffer.append(data)

        # 触发批处理条件：达到批量大小或超时
        should_flush = (
            len(self.buffer) >= self.batch_size or
            time.time() - self.last_flush > self.timeout
        )

        if should_flush:
            results = self._process_batch(self.buffer)
            self.buffer = []
            self.last_flush = time.time()
            return results

        return None  # 等待更多数据

    def _process_batch(self, batch):
        """批量处理 - 减少 API 调用次数"""
        prompts = [item["prompt"] for item in batch]

        # 使用批量 API（如果支持）
        responses = []
        for prompt in prompts:
            resp = client.generate(prompt, max_tokens=256)
            responses.append(resp)

        return [
            {"prompt": p, "response": r}
            for p, r in zip(prompts, responses)
        ]


class ResourceAwareOperator(MapFunction):
    """资源感知算子"""

    def open(self, context):
        """初始化资源"""
        self.model = load_model()

    def execute(self, data):
        result = self.model.predict(data)
        return result

    def close(self):
        """释放资源"""
        if hasattr(self, 'model'):
            del self.model
            import gc
            gc.collect()  # 触发垃圾回收


import psutil
import os

def get_memory_usage():
    """获取当前进程内存使用"""
    process = psutil.Process(os.getpid())
    return process.memory_info().rss / 1024 / 1024  # MB


class MemoryMonitorOperator(MapFunction):
    """内存监控算子"""

    def __init__(self, threshold_mb=1000, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold_mb
        self.check_interval = 100
        self.counter = 0

    def execute(self, data):
        self.counter += 1

        if self.counter % self.check_interval == 0:
            memory_mb = get_memory_usage()
            if memory_mb > self.threshold:
                print(f"Warning: 内存使用: {memory_mb:.1f}MB (超过阈值)")

        return data
# fmt: on


def test_profiled_operator(capsys: pytest.CaptureFixture[str]) -> None:
    """Every hundred calls it prints its statistics."""
    env = LocalEnvironment("profiled")
    env.from_collection(range(250)).map(ProfiledOperator()).sink(lambda _: None)
    env.submit(autostop=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "[ProfiledOperator] 调用次数: 100",
        "[ProfiledOperator] 调用次数: 200",
    ]


@pytest.mark.parametrize("as_class", [False, True])
def test_batch_llm_operator(as_class: bool) -> None:
    """It buffers, returning None, and a list of results is one record."""
    operator: Any = BatchLLMOperator if as_class else BatchLLMOperator(batch_size=2)
    env = LocalEnvironment("batches")
    batches: list[Any] = []
    arguments = {"batch_size": 2} if as_class else {}
    env.from_collection([{"prompt": "a"}, {"prompt": "b"}]).map(operator, **arguments).sink(
        batches.append
    )
    env.submit(autostop=True)
    assert batches == [[{"prompt": "a", "response": "A"}, {"prompt": "b", "response": "B"}]]


def test_resource_aware_operator() -> None:
    """open loads the model once a replica; close releases it."""
    loaded.clear()
    operator = ResourceAwareOperator()
    env = LocalEnvironment("resources")
    out: list[int] = []
    env.from_collection([1, 2]).map(operator).sink(out.append)
    env.submit(autostop=True)
    assert out == [2, 3]
    assert loaded == ["model"]
    assert not hasattr(operator, "model")


def test_memory_monitor_operator(capsys: pytest.CaptureFixture[str]) -> None:
    """It warns past its threshold and passes every record on."""
    env = LocalEnvironment("memory")
    out: list[int] = []
    env.from_collection(range(100)).map(MemoryMonitorOperator(threshold_mb=1)).sink(out.append)
    env.submit(autostop=True)
    assert out == list(range(100))
    assert capsys.readouterr().out.startswith("Warning: 内存使用: ")


def test_parallel_pipeline() -> None:
    """The tutorial's pipeline with four and two replicas."""
    from sage.common.core.functions import SinkFunction, SourceFunction

    class DataSource(SourceFunction):
        def __init__(self):
            super().__init__()
            self.next = 0

        def execute(self):
            self.next += 1
            if self.next > 100:
                raise StopIteration
            return self.next

    class CPUIntensiveOperator(MapFunction):
        def execute(self, data):
            return data * data

    class GPUInferenceOperator(MapFunction):
        def execute(self, data):
            return data + 1

    results = []

    class OutputSink(SinkFunction):
        def execute(self, data):
            results.append(data)

    # fmt: off
    env = LocalEnvironment("optimized_pipeline")

    stream = (
        env.from_source(DataSource())
        .map(
            CPUIntensiveOperator(),
            parallelism=4  # 4 个并行实例
        )
        .map(
            GPUInferenceOperator(),
            parallelism=2  # GPU 算子通常不需要太高并行度
        )
        .sink(OutputSink())
    )
    # fmt: on
    assert stream is not None
    env.submit(autostop=True)
    assert sorted(results) == [number * number + 1 for number in range(1, 101)]
