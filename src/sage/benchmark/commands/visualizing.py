"""``visualize``: results that were written before, as a page with charts."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument(
    "files",
    metavar="RESULT.json...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("results.html"),
    show_default=True,
    help="The file to write: a page with charts, tables in Markdown or CSV, as its name ends in "
    ".html, .md or .csv.",
)
def visualize(files: tuple[Path, ...], out: Path) -> None:
    """Draw results that --output of the other commands wrote, those of all files together."""
    from sage.benchmark.visualize.files import check_report, write_report
    from sage.benchmark.visualize.recorded import read_file

    check_report(out)
    write_report(out, [read_file(file) for file in files])
    click.echo(f"report written to {out}")
