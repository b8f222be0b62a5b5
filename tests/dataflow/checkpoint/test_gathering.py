"""Which replicas a checkpoint waits for, and what of each goes into it."""

from __future__ import annotations

from sage.dataflow.checkpoint.gathering import Gathering, Part
from sage.dataflow.checkpoint.snapshot import ReplicaSnapshot

A, B0, B1 = Part(0, 0), Part(1, 0), Part(1, 1)


def test_all_must_have_saved() -> None:
    """Replicas are missing until each has saved; they go in by their numbers, however they came."""
    gathering = Gathering([A, B0, B1])
    gathering.begin(1)
    assert gathering.missing == (A, B0, B1)
    gathering.save(B1, 1, {"b": b"second"})
    gathering.save(A, 1, {"a": b"a", "also": b"too"})
    assert gathering.missing == (B0,)
    gathering.save(B0, 1, {"b": b"first"})
    assert gathering.missing == ()
    assert gathering.snapshots() == {
        "a": (ReplicaSnapshot(b"a"),),
        "also": (ReplicaSnapshot(b"too"),),
        "b": (ReplicaSnapshot(b"first"), ReplicaSnapshot(b"second")),
    }


def test_what_belongs_to_another_checkpoint_does_not_count() -> None:
    """State of one that was given up is not taken for the present one's."""
    gathering = Gathering([A])
    gathering.begin(1)
    gathering.begin(2)
    gathering.save(A, 1, {"a": b"old"})
    assert gathering.missing == (A,)
    gathering.save(A, 2, {"a": b"new"})
    assert gathering.snapshots() == {"a": (ReplicaSnapshot(b"new"),)}


def test_an_ended_replica_counts_for_all_that_follow() -> None:
    """It is marked as finished, except in the checkpoint for which it had saved before."""
    gathering = Gathering([A, B0])
    gathering.begin(1)
    gathering.save(A, 1, {"a": b"at the barrier"})
    gathering.end(A, {"a": b"at the end"})
    gathering.save(B0, 1, {"b": b"b"})
    assert gathering.snapshots()["a"] == (ReplicaSnapshot(b"at the barrier"),)
    gathering.begin(2)
    assert gathering.missing == (B0,)
    assert not gathering.ended
    gathering.end(B0, {"b": b"b"})
    assert gathering.ended
    assert gathering.snapshots()["a"] == (ReplicaSnapshot(b"at the end", finished=True),)
