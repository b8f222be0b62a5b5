"""The queue of waiting texts: turns, limits, failures, cancels and counts."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import BadRequestError, ConfigError, RejectedError
from sage.inference.embeddings.batching import BatchLimits
from sage.inference.embeddings.queue import Batch, BatchQueue, QueuedRequest, QueuePolicy


def queue(**options: object) -> BatchQueue:
    return BatchQueue(QueuePolicy(**options))  # type: ignore[arg-type]


def lengths(batch: Batch | None) -> list[int]:
    assert batch is not None
    return [text.tokens for text in batch.texts]


def test_texts_of_several_requests_run_together() -> None:
    """Waiting texts of like length make one call, and each request is whole after it."""
    waiting = queue()
    first, second = waiting.submit([10], 0), waiting.submit([11], 0)
    batch = waiting.next_batch(0)
    assert lengths(batch) == [10, 11]
    assert batch is not None
    assert set(waiting.finished(batch, 1)) == {first, second}
    assert waiting.counts.coalesced_batches == 1


def test_no_more_batches_than_workers() -> None:
    """While every worker is busy nothing is taken, and all that waits forms the next batch."""
    waiting = queue(workers=1)
    waiting.submit([10], 0)
    running = waiting.next_batch(0)
    for _ in range(5):
        waiting.submit([10], 0)
    assert waiting.next_batch(0) is None
    assert running is not None
    waiting.finished(running, 1)
    assert lengths(waiting.next_batch(1)) == [10] * 5


def test_an_idle_worker_waits_for_company_as_long_as_told() -> None:
    """With max_wait, a lone text is due only after it; the queue says when."""
    waiting = queue(max_wait=0.002)
    waiting.submit([10], 1.0)
    assert waiting.next_batch(1.001) is None
    assert waiting.wake_at() == pytest.approx(1.002)
    assert lengths(waiting.next_batch(1.0021)) == [10]


def test_a_full_batch_does_not_wait() -> None:
    """Once a whole batch waits there is nothing to wait for."""
    waiting = queue(max_wait=10.0, limits=BatchLimits(max_tokens=40))
    waiting.submit([10, 10, 10], 0)
    assert waiting.next_batch(0) is None
    waiting.submit([10], 0)
    assert lengths(waiting.next_batch(0)) == [10] * 4


def test_time_spent_waiting_for_a_worker_counts() -> None:
    """A text that waited for a busy worker runs at once when it is free."""
    waiting = queue(max_wait=0.002)
    waiting.submit([10], 0)
    running = waiting.next_batch(0.002)
    waiting.submit([10], 0.002)
    assert running is not None
    waiting.finished(running, 0.1)
    assert waiting.next_batch(0.1) is not None


def test_a_single_text_does_not_wait_for_a_whole_bulk() -> None:
    """A text that arrives behind a bulk of 1000 runs within its fair share of the work."""
    waiting = queue(limits=BatchLimits(max_tokens=400))
    waiting.submit([100] * 1000, 0)
    for _ in range(3):
        bulk = waiting.next_batch(0)
        assert bulk is not None
        waiting.finished(bulk, 0)
    single = waiting.submit([20], 0)
    turns = 0
    while single.live:
        batch = waiting.next_batch(0)
        assert batch is not None
        waiting.finished(batch, 0)
        turns += 1
    assert turns <= 4


def test_a_bulk_is_not_starved_by_single_texts() -> None:
    """However many single texts keep arriving, a bulk gets its share."""
    waiting = queue(limits=BatchLimits(max_tokens=400))
    bulk = waiting.submit([250] * 20, 0)
    for _ in range(8):
        waiting.submit([10], 0)
    turns = 0
    while bulk.live:
        batch = waiting.next_batch(0)
        assert batch is not None
        for request in waiting.finished(batch, 0):
            if request is not bulk:
                waiting.submit([10], 0)
        turns += 1
        assert turns < 5000


def test_a_full_queue_says_when_to_come_back() -> None:
    """Beyond max_queue_tokens a request is refused with a wait from the measured speed."""
    waiting = queue(max_queue_tokens=1000)
    waiting.submit([100], 0)
    batch = waiting.next_batch(0)
    assert batch is not None
    waiting.finished(batch, 1.0)  # 100 tokens/s
    waiting.submit([900], 1)
    with pytest.raises(RejectedError) as refused:
        waiting.submit([400], 1)
    assert refused.value.retry_after == pytest.approx(3.0)
    assert waiting.counts.rejected == 1


def test_a_request_larger_than_the_queue_must_be_split() -> None:
    """It could never be accepted, so it is 413 and not 429."""
    with pytest.raises(BadRequestError, match="split it") as refused:
        queue(max_queue_tokens=10).submit([11], 0)
    assert refused.value.status == 413


def test_a_failing_text_fails_only_its_request() -> None:
    """After a joint call fails, its requests are tried one by one."""
    waiting = queue()
    good, bad = waiting.submit([10], 0), waiting.submit([10], 0)
    joint = waiting.next_batch(0)
    assert joint is not None
    assert waiting.failed(joint, 0) is None
    alone = waiting.next_batch(0)
    assert alone is not None
    assert alone.requests == {good}
    assert waiting.finished(alone, 0) == [good]
    alone = waiting.next_batch(0)
    assert alone is not None
    assert waiting.failed(alone, 0) is bad
    assert (waiting.counts.done, waiting.counts.failed) == (1, 1)


def test_cancelled_texts_leave_the_queue() -> None:
    """A cancelled request's waiting texts do not run and free their room."""
    waiting = queue()
    gone, kept = waiting.submit([10, 20], 0), waiting.submit([11], 0)
    assert waiting.cancel(gone)
    assert not waiting.cancel(gone)
    assert waiting.queued_tokens == 11
    batch = waiting.next_batch(0)
    assert batch is not None
    assert batch.requests == {kept}


def test_a_request_cancelled_while_it_runs_is_not_done() -> None:
    """Its call ends, its result is dropped, and it stays cancelled."""
    waiting = queue()
    request = waiting.submit([10], 0)
    batch = waiting.next_batch(0)
    assert waiting.cancel(request)
    assert batch is not None
    assert waiting.finished(batch, 1) == []
    assert (waiting.counts.cancelled, waiting.counts.done) == (1, 0)


def test_a_full_batch_is_given_ahead_of_a_busy_worker() -> None:
    """The worker that ends first goes on at once, and its time counts from then."""
    waiting = BatchQueue(QueuePolicy(BatchLimits(100), workers=1, max_wait=0))
    for _ in range(4):
        waiting.submit([100], 0)
    first, ahead = waiting.next_batch(0), waiting.next_batch(0)
    assert first is not None
    assert ahead is not None
    assert waiting.next_batch(0) is None, "only one is given ahead"
    waiting.finished(first, 5)
    waiting.finished(ahead, 7)
    assert waiting.counts.busy_seconds == 7


def test_less_than_a_full_batch_waits_for_company() -> None:
    """While every worker is busy, texts that would make a small batch may still be joined."""
    waiting = BatchQueue(QueuePolicy(BatchLimits(100), workers=1, max_wait=0))
    waiting.submit([50], 0)
    assert waiting.next_batch(0) is not None
    waiting.submit([50], 0)
    assert waiting.next_batch(0) is None


class Traffic:
    """Random events for a queue, which checks the sums after each."""

    def __init__(self, waiting: BatchQueue, rng: random.Random) -> None:
        self.queue = waiting
        self.rng = rng
        self.now = 0.0
        self.requests: list[QueuedRequest] = []
        self.running: list[Batch] = []

    def step(self) -> None:
        """One event, some time after the last."""
        self.now += self.rng.random()
        self.rng.choice([self.submit, self.submit, self.next, self.next, self.end, self.cancel])()
        self.check()

    def submit(self) -> None:
        texts = [self.rng.randrange(300) for _ in range(self.rng.randrange(1, 6))]
        with suppress(RejectedError):
            self.requests.append(self.queue.submit(texts, self.now))

    def next(self) -> None:
        if batch := self.queue.next_batch(self.now):
            self.running.append(batch)

    def end(self) -> None:
        if self.running:
            # One given ahead of a free worker runs only when another has ended.
            under_way = min(len(self.running), self.queue.policy.workers)
            batch = self.running.pop(self.rng.randrange(under_way))
            self.rng.choice([self.queue.finished, self.queue.failed])(batch, self.now)

    def cancel(self) -> None:
        if self.requests:
            self.queue.cancel(self.rng.choice(self.requests))

    def check(self) -> None:
        counts = self.queue.counts
        ended = counts.done + counts.failed + counts.cancelled
        assert counts.accepted == ended + self.queue.queued + self.queue.running
        assert counts.accepted == len(self.requests)
        texts = [entry[2] for entry in self.queue._by_length]
        assert self.queue.queued_tokens == sum(text.tokens for text in texts)
        assert len(self.running) == self.queue.running_batches <= self.queue.policy.workers + 1


@given(st.integers(0, 2**32), st.integers(1, 4), st.floats(0, 2))
def test_requests_are_counted_once_each_and_the_sums_agree(
    seed: int, workers: int, max_wait: float
) -> None:
    """accepted = done + failed + cancelled + queued + running after every event, and every
    request ends once its texts have run."""
    policy = QueuePolicy(BatchLimits(256), workers, max_wait, max_queue_tokens=3000)
    traffic = Traffic(BatchQueue(policy), random.Random(seed))
    for _ in range(80):
        traffic.step()
    while any(request.live for request in traffic.requests):
        traffic.now += max_wait + 1
        traffic.next()
        if traffic.running:
            traffic.queue.finished(traffic.running.pop(0), traffic.now)
        traffic.check()
    assert traffic.queue.queued_texts == traffic.queue.queued_tokens == 0


def test_a_policy_that_could_never_run_is_refused() -> None:
    """Zero workers is a ConfigError."""
    with pytest.raises(ConfigError, match="workers"):
        QueuePolicy(workers=0)
