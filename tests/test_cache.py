import pytest

from logtrace import cache
from logtrace.errors import LogtraceError


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LOGTRACE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a/kmod/1"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/logtrace/kmod/1"),
        ({"XDG_CACHE_HOME": "not/absolute", "HOME": "/c"}, "/c/.cache/logtrace/kmod/1"),
        ({"LOGTRACE_CACHE": "", "HOME": "/c"}, "/c/.cache/logtrace/kmod/1"),
    ],
)
def test_the_cache_is_where_the_environment_says(environ, expected):
    assert str(cache.folder("kmod", "1", environ=environ)) == expected


def test_a_folder_is_made_once(tmp_path):
    made = []

    def make(draft):
        made.append(draft)
        (draft / "built").write_text("module")

    target = tmp_path / "cache" / "digest"
    assert cache.make_once(target, make) == target
    assert cache.make_once(target, make) == target
    assert (target / "built").read_text() == "module"
    assert len(made) == 1


def test_a_failure_leaves_nothing_behind(tmp_path):
    def make(draft):
        (draft / "half").write_text("module")
        raise RuntimeError("compiler crashed")

    with pytest.raises(RuntimeError, match="compiler crashed"):
        cache.make_once(tmp_path / "digest", make)
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_make_the_same_folder_the_first_stays(tmp_path):
    target = tmp_path / "digest"

    def make(draft):
        target.mkdir()
        (target / "built").write_text("by the other")
        (draft / "built").write_text("by this one")

    cache.make_once(target, make)
    assert (target / "built").read_text() == "by the other"
    assert list(tmp_path.iterdir()) == [target]


def test_a_cache_that_cannot_be_written_is_told_with_its_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LogtraceError, match="file can't be written") as raised:
        cache.make_once(tmp_path / "file" / "digest", lambda draft: None)
    assert "LOGTRACE_CACHE" in raised.value.remedy
