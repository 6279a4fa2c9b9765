"""What LibreOffice makes of the tables of a report."""

import os
import shutil
import subprocess
from xml.etree import ElementTree

import pytest
from report_samples import HOSTILE, details_frames, loss_row, report_data, run_row

from logtrace.report import write_report

# Separator, quote, UTF-8, from line 1; the thirteenth field asks for formulas to be evaluated.
CSV_WITH_FORMULAS = "CSV:44,34,76,1,,0,false,true,false,false,false,0,true"
SIGNS = ("=1+1", "+1+1", "-1+1", "@SUM(1,1)", " =1+1", "\t=1+1", "＝1+1")  # noqa: RUF001
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"


@pytest.fixture
def opened(tmp_path):
    """Give a function that opens CSV files, and gives the cells of each."""
    if not shutil.which("soffice"):
        reason = "LibreOffice is not there: apt-get install libreoffice-calc-nogui"
        if os.environ.get("LOGTRACE_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)

    def open_files(*paths):
        command = ["soffice", f"-env:UserInstallation=file://{tmp_path}/profile", "--headless"]
        options = [f"--infilter={CSV_WITH_FORMULAS}", "--convert-to", "fods", "--outdir"]
        out = tmp_path / "opened"
        subprocess.run(
            [*command, *options, out, *paths], check=True, capture_output=True, timeout=120
        )
        return [cells_of(out / f"{path.stem}.fods") for path in paths]

    return open_files


def cells_of(path):
    """Give text and formula of each cell that is not empty."""
    cells = ElementTree.parse(path).iter(f"{TABLE}table-cell")
    return [
        (
            "\n".join("".join(line.itertext()) for line in cell.iter(f"{TEXT}p")),
            cell.get(f"{TABLE}formula"),
        )
        for cell in cells
        if cell.get(f"{OFFICE}value-type")
    ]


def test_libreoffice_finds_no_formula_in_the_tables_of_a_report(opened, tmp_path):
    names = ("owner", "comm", "file", "host", "note", "source")
    texts = (*SIGNS, *HOSTILE)
    rows = [run_row(number, **dict.fromkeys(names, text)) for number, text in enumerate(texts)]
    losses = [loss_row(text=text, source=text) for text in texts]
    out = tmp_path / "report"
    write_report(report_data(rows, losses=losses, **details_frames()), out, ("csv",))
    control = tmp_path / "control.csv"
    control.write_text('"a","b"\n"=1+1","text"\n')

    tables = sorted(out.glob("*.csv"))
    first, *others = opened(control, *tables)
    assert ("2", "of:=1+1") in first
    assert len(others) == len(tables) >= 5
    for cells in others:
        assert [formula for _, formula in cells if formula] == []
    runs = dict(zip(tables, others, strict=True))[out / "runs.csv"]
    assert {f"'{sign}" for sign in SIGNS if sign.isprintable()} <= {text for text, _ in runs}
