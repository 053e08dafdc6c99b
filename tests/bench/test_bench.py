"""The bench runs, counts what it did, and writes what it found. Nothing here asks how fast: `make bench` does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_a_short_bench_writes_down_plausible_figures(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--out", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(out.read_text("utf-8"))
    said = ended.stdout
    assert said.index("a notice set ÷") < said.index("pages: ") < said.index("DKIM") < said.index("signing: ")
    assert all(figure.keys() == {"name", "value", "unit", "at_least", "at_most"} for figure in figures)
    assert all(0 < figure["value"] < 1e6 for figure in figures)
    assert len({figure["name"] for figure in figures}) == len(figures)
    assert [one["name"] for one in figures if one["at_most"] == 2] == [
        "a notice set ÷ bare kept Typst compiler",
        "a 24-page issue set ÷ bare typst.compile",
    ]
    for database in ("SQLite", "PostgreSQL"):
        barred = [one for one in figures if one["at_least"] or one["at_most"] if one["name"].endswith(database)]
        told = "chunks, slow channel, approval, growth of reach and claim, numbers, mails, memory, console"
        assert len(barred) == 9, told
    assert not list(tmp_path.glob("bench-*")), "it leaves nothing behind but its file"
