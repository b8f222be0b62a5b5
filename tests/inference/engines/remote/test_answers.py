"""Ray's errors in one line."""

from __future__ import annotations

from sage.inference.engines.remote.answers import why


def test_who_died_is_left_out_and_why_is_kept() -> None:
    """The lines with ids say nothing to a person."""
    error = RuntimeError(
        "The actor died unexpectedly before finishing this task.\n"
        "\tclass_name: EngineActor\n\tactor_id: 0a1b\n\tip: 10.0.0.1\n"
        "The actor died because its node has died. Node Id: 17\n"
    )
    assert why(error) == "The actor died because its node has died. Node Id: 17"


def test_of_an_exception_on_a_node_its_last_line_is_the_reason() -> None:
    """With what to do when a module is missing there."""
    error = RuntimeError(
        "The actor died because of an error raised in its creation task\n"
        '  File "/x.py", line 1, in <module>\n    import sage\n    ^^^^^^^^^^^\n'
        "ModuleNotFoundError: No module named 'sage'"
    )
    assert why(error) == (
        "ModuleNotFoundError: No module named 'sage' (every node needs the sage-stack of this "
        "machine, with the extra of the engine)"
    )


def test_a_reason_is_never_empty_nor_endless() -> None:
    """An error without words is named, a long one is cut."""
    assert why(TimeoutError()) == "TimeoutError"
    assert len(why(RuntimeError("x" * 1000))) == 300
