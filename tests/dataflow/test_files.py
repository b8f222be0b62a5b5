"""from_files: text, JSONL, CSV and Parquet, each record at a place that reading can begin from."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import FileOffset, FileRecord, LocalEnvironment
from sage.dataflow.context import RuntimeContext
from sage.dataflow.files.formats import FileFormat, ReadOptions
from sage.dataflow.files.source import FileSource
from sage.errors import ConfigError, GraphError, OperatorError


def read(env: LocalEnvironment, *args: Any, **kwargs: Any) -> list[Any]:
    out: list[Any] = []
    env.from_files(*args, **kwargs).sink(out.append)
    env.submit(autostop=True)
    return out


def write(path: str, text: str) -> str:
    Path(path).write_bytes(text.encode())
    return path


def test_text(env: LocalEnvironment) -> None:
    """A record is a line without its end, whatever ends it; the last needs none."""
    write("a.txt", "\ufeffone\ntwo\r\n\nfour")
    assert read(env, "a.txt") == ["one", "two", "", "four"]


def test_jsonl(env: LocalEnvironment) -> None:
    """A record is a value; blank lines are none."""
    write("a.jsonl", '{"n": 1}\n\n[2, "é"]\n  \n3\n')
    assert read(env, "a.jsonl") == [{"n": 1}, [2, "é"], 3]


def test_csv(env: LocalEnvironment) -> None:
    """A record is a dict by the first line; a quoted field may hold lines and commas."""
    write("a.csv", 'id,text\n1,"a, ""b""\nc"\n\n2,d\n')
    assert read(env, "a.csv") == [{"id": "1", "text": 'a, "b"\nc'}, {"id": "2", "text": "d"}]
    env = LocalEnvironment()
    write("b.csv", "id;text\n1;a\n")
    assert read(env, "b.csv", delimiter=";") == [{"id": "1", "text": "a"}]


def test_parquet(env: LocalEnvironment) -> None:
    """A record is a dict of a row, over row groups; columns can be chosen."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"n": list(range(3000)), "text": [str(n) for n in range(3000)]})
    pq.write_table(table, "a.parquet", row_group_size=1300)
    out = read(env, "a.parquet")
    assert out == [{"n": n, "text": str(n)} for n in range(3000)]
    assert read(LocalEnvironment(), "a.parquet", columns=["n"])[7] == {"n": 7}


def test_parquet_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, when the pipeline is written."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    write("a.parquet", "")
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        LocalEnvironment().from_files("a.parquet")


def test_globs_and_lists(env: LocalEnvironment) -> None:
    """The files of a glob come by name, those of a list in its order, and each once."""
    for name in ("b", "a"):
        Path(f"deep/{name}").mkdir(parents=True)
        write(f"deep/{name}/x.txt", f"{name}\n")
    write("z.txt", "z\n")
    assert read(env, ["z.txt", "deep/**/*.txt", Path("z.txt")]) == ["z", "a", "b"]


def test_compressed(env: LocalEnvironment) -> None:
    """A .gz file is unpacked, and the format is that of the name within."""
    Path("a.jsonl.gz").write_bytes(gzip.compress(b"1\n2\n"))
    assert read(env, "a.jsonl.gz") == [1, 2]


def test_urls(env: LocalEnvironment) -> None:
    """Where fsspec is installed, its URLs and globs work."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for name in ("two", "one"):
        system.pipe(f"/files/{name}.txt", name.encode() + b"\nend")
    assert read(env, "memory://files/*.txt") == ["one", "end", "two", "end"]
    with pytest.raises(GraphError, match=r"no file for 'memory://files/none\.txt'"):
        LocalEnvironment().from_files("memory://files/none.txt")


def test_urls_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ConfigError, match="pip install fsspec"):
        LocalEnvironment().from_files("s3://bucket/a.txt")


@pytest.mark.parametrize("parallelism", [2, 3])
def test_replicas_share_out_the_files(env: LocalEnvironment, parallelism: int) -> None:
    """Each file is read by one replica, once."""
    for index in range(5):
        write(f"{index}.txt", f"{index}\n{index}\n")
    assert sorted(read(env, "*.txt", parallelism=parallelism)) == sorted("01234" * 2)


def test_offsets(env: LocalEnvironment) -> None:
    """Each record comes with its file, its byte and its line."""
    write("a.jsonl", '"é"\n\n2\n')
    write("b.csv", 'n\n1\n"2\n3"\n4\n')
    assert read(env, "a.jsonl", offsets=True) == [
        FileRecord("é", FileOffset("a.jsonl", 0, 1)),
        FileRecord(2, FileOffset("a.jsonl", 6, 3)),
    ]
    assert [record.offset for record in read(LocalEnvironment(), "b.csv", offsets=True)] == [
        ("b.csv", 2, 2),
        ("b.csv", 4, 3),
        ("b.csv", 10, 5),
    ]


TEXTS = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=6)


def as_text(values: list[str]) -> str:
    return "".join(value + "\n" for value in values)


def as_jsonl(values: list[str]) -> str:
    return "".join(json.dumps(value) + "\n" * (1 + len(value) % 2) for value in values)


def as_csv(values: list[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([["a", "b"], *([value + "\n" + value, value] for value in values)])
    return out.getvalue()


FORMATS: dict[FileFormat, Callable[[list[str]], str]] = {
    FileFormat.TEXT: as_text,
    FileFormat.JSONL: as_jsonl,
    FileFormat.CSV: as_csv,
}


@given(
    contents=st.lists(st.lists(TEXTS, max_size=6), min_size=1, max_size=3),
    format_=st.sampled_from(list(FORMATS)),
    packed=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_reading_goes_on_from_any_offset(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[list[str]],
    format_: FileFormat,
    packed: bool,
) -> None:
    """A source that is put at an offset gives what was left there, in every format."""
    folder = tmp_path_factory.mktemp("files")
    files = []
    for index, values in enumerate(contents):
        path = folder / (f"{index}.gz" if packed else f"{index}")
        data = FORMATS[format_](values).encode()
        path.write_bytes(gzip.compress(data) if packed else data)
        files.append(str(path))

    def source() -> FileSource:
        made = FileSource(tuple(files), format_, ReadOptions())
        made.open(RuntimeContext("files"))
        return made

    whole = list(source())
    assert len(whole) == sum(map(len, contents))
    reader = source()
    offsets = [reader.offset()]
    while reader.execute() is not None:
        offsets.append(reader.offset())
    for taken, offset in enumerate(offsets):
        if offset is None:
            assert taken == len(whole)
            continue
        again = source()
        again.seek(offset)
        assert list(again) == whole[taken:]


@given(rows=st.integers(1, 40), group=st.integers(1, 15), start=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_parquet_goes_on_from_any_row(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, start: int
) -> None:
    """Row groups before the offset are not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = str(tmp_path_factory.mktemp("files") / "a.parquet")
    pq.write_table(pa.table({"n": list(range(rows))}), path, row_group_size=group)
    source = FileSource((path,), FileFormat.PARQUET, ReadOptions())
    source.open(RuntimeContext("files"))
    source.seek(FileOffset(path, min(start, rows), 1))
    assert [row["n"] for row in source] == list(range(min(start, rows), rows))


def test_an_offset_of_another_file() -> None:
    """Files that are gone cannot be gone on with."""
    source = FileSource(("a.txt",), FileFormat.TEXT, ReadOptions())
    source.open(RuntimeContext("files"))
    with pytest.raises(Exception, match=r"'b\.txt' is not among the files"):
        source.seek(FileOffset("b.txt", 0, 1))


# Without the time in it, so that each process that runs tests gives them the same names.
CUT_OFF = gzip.compress(b"one\ntwo\n" * 99, mtime=0)[:-9]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'1\n\n{"n": \n2\n', r"a\.jsonl, line 3: DecodeError"),
        ("a.txt", b"good\n\xff\n", r"a\.txt, line 2: UnicodeDecodeError"),
        ("a.csv", b"a,b\n1,2\n3\n", r"a\.csv, line 3: .*1 fields, but 2 columns"),
        ("a.csv", b'a,b\n1,2\n3,"4\n5\n', r"a\.csv, line 3: Error: unexpected end"),
        ("a.csv", b"a,a\n1,2\n", r"a\.csv, line 1: .*names a column twice"),
        ("a.txt.gz", CUT_OFF, r"a\.txt\.gz, line \d+: EOFError"),
        ("a.txt.gz", b"no gzip", r"a\.txt\.gz, line 1: BadGzipFile"),
    ],
)
def test_errors_name_file_and_line(
    env: LocalEnvironment, name: str, data: bytes, message: str
) -> None:
    """Whatever is wrong with a file, the error says where."""
    Path(name).write_bytes(data)
    with pytest.raises(OperatorError, match=message):
        read(env, name)


def test_a_damaged_parquet_file_is_named(env: LocalEnvironment) -> None:
    """As are damaged lines of other formats."""
    write("a.parquet", "PAR1 no PAR1")
    with pytest.raises(OperatorError, match=r"a\.parquet, row 1: ArrowInvalid"):
        read(env, "a.parquet")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("none.txt",), GraphError, "no file for 'none.txt'"),
        (("none/*.txt",), GraphError, "no file for"),
        ((".",), GraphError, "is a folder"),
        (([],), GraphError, "got no paths"),
        ((3,), GraphError, "got 3"),
        ((["a.txt", 3],), GraphError, "got 3"),
        (("a.bin",), ConfigError, r"'a\.bin' tells no format"),
        ((["a.txt", "a.csv"],), ConfigError, "several formats"),
        (("a.txt", "xml"), ConfigError, "format is 'xml'"),
    ],
)
def test_what_cannot_be_read(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    """Wrong paths fail where they are written."""
    for name in ("a.txt", "a.csv", "a.bin"):
        write(name, "x")
    with pytest.raises(error, match=message):
        LocalEnvironment().from_files(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "utf-16"}, "cannot be told by bytes"),
        ({"encoding": "latin-0"}, "no such encoding"),
        ({"delimiter": "ab"}, "give one character"),
        ({"columns": ["a"]}, "columns is for Parquet"),
        ({"separator": ";"}, "unknown key 'separator'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """Wrong options fail where they are written."""
    write("a.csv", "x")
    with pytest.raises(ConfigError, match=message):
        LocalEnvironment().from_files("a.csv", **options)
