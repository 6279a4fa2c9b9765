import pytest
from rich.cells import cell_len

from logtrace.tables import column, table_lines, without_middle

PATH = "/home/student/work/assignment-2/testdata/abc.txt"


def lines_of(columns, room):
    return [line.plain for line in table_lines(columns, room)]


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (40, "/hom…/work/assignment-2/testdata/abc.txt"),
        (24, "/home/…/testdata/abc.txt"),
        (12, "/ho…/abc.txt"),
        (6, "/….txt"),
    ],
)
def test_a_path_loses_its_middle_and_keeps_the_names_at_its_end(width, text):
    assert without_middle(PATH, width) == text


@pytest.mark.parametrize("text", [PATH, "프로그램/" * 20, "가a" * 30])
@pytest.mark.parametrize("width", range(1, 30))
def test_what_lost_its_middle_has_room(text, width):
    shortened = without_middle(text, width)
    assert cell_len(shortened) <= width
    assert "…" in shortened


def test_what_has_room_is_left_as_it_is():
    assert without_middle(PATH, len(PATH)) == PATH


def test_names_give_way_and_numbers_do_not():
    rows = [{"path": PATH, "calls": 12345678}]
    columns = [
        column(rows, "Path", lambda row: row["path"], middle=True),
        column(rows, "Calls", lambda row: str(row["calls"]), right=True),
    ]
    assert lines_of(columns, 31) == [
        "Path                      Calls",
        "/ho…/testdata/abc.txt  12345678",
    ]


def test_a_table_without_rows_is_its_headings():
    assert lines_of([column([], "Path", str), column([], "Calls", str)], 80) == ["Path  Calls"]
