"""The plan as Mermaid."""

from __future__ import annotations

from sage.dataflow import LocalEnvironment


def test_flowchart() -> None:
    """A subgraph a stage, an arrow a channel."""
    env = LocalEnvironment()
    env.from_collection([1]).map(str, parallelism=2).sink(print)
    assert env.explain("mermaid").splitlines() == [
        "flowchart LR",
        '  subgraph stage0["stage 0: 1 thread"]',
        '    op0(["collection<br/>source"])',
        "  end",
        '  subgraph stage1["stage 1: 2 threads"]',
        '    op1["str<br/>map"]',
        "  end",
        '  subgraph stage2["stage 2: 1 thread"]',
        '    op2[["print<br/>sink"]]',
        "  end",
        '  op0 -->|"channel: 8,192"| op1',
        '  op1 -->|"channel: 8,192"| op2',
    ]


def test_names_are_no_markup() -> None:
    """Whatever a name contains stays within its quotes."""
    env = LocalEnvironment()
    env.from_collection([1], name='a"] --> b; #35; `x`\n<i>').sink(print)
    line = env.explain("mermaid").splitlines()[2]
    assert line == (
        '    op0(["a#34;#93; --#62; b#59; #35;35#59; #96;x#96;#10;#60;i#62;<br/>source"])'
    )


def test_a_loop_is_dotted() -> None:
    """The channel that closes a loop is drawn otherwise."""
    env = LocalEnvironment()
    again = env.from_future("again")
    ways = env.from_collection([1]).union(again).split(lambda x: "back" if x < 3 else "on")
    ways["back"].map(lambda x: x + 1, name="more").fill_future(again)
    ways["on"].sink(print)
    arrows = [line for line in env.explain("mermaid").splitlines() if "-.->" in line]
    assert len(arrows) == 1
    assert arrows[0].endswith('-.->|"feedback: no bound"| op0')
