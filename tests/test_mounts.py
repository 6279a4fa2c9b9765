"""A store whose disk is away is not made anew in its place."""

import pytest
from click.testing import CliRunner
from store_samples import CONTRACT

from logtrace.cli import cli
from logtrace.errors import StoreError
from logtrace.mounts import refuse_absent


@pytest.fixture
def table(tmp_path):
    """Give a function that asks for a store, with what is configured to be mounted."""
    units = tmp_path / "units"
    units.mkdir()

    def ask(root, fstab="", unit="", named=True):
        (tmp_path / "fstab").write_text(fstab)
        (units / "srv-lab.mount").write_text(unit)
        refuse_absent(root, named=named, fstab=tmp_path / "fstab", units=units)

    return ask


@pytest.mark.parametrize("below", ["", "store"])
def test_at_a_mount_point_where_nothing_is_mounted_no_store_is_made(tmp_path, table, below):
    place = tmp_path / "my disk"
    place.mkdir()
    escaped = str(place).replace(" ", "\\040")
    line = f"# disks\nUUID=1 {escaped} ext4 nofail 0 2\n"
    with pytest.raises(StoreError, match="nothing is mounted at") as error:
        table(place / below, fstab=line)
    assert error.value.remedy == f"mount {place}, or name another with --store"
    with pytest.raises(StoreError, match="nothing is mounted at"):
        table(place / below, unit=f"[Mount]\nWhat=/dev/sdb1\nWhere={place}\n", named=False)


def test_elsewhere_and_where_something_is_mounted_it_is_made(tmp_path, table):
    table(tmp_path / "store", fstab="/dev/sda1 / ext4\nproc /proc proc\nnone none swap\n")
    table(tmp_path / "store", fstab=f"#/dev/sdb1 {tmp_path} ext4\n")
    table(tmp_path / "store", fstab=f"/dev/sdb1 {tmp_path}/sto ext4\n")


def test_a_store_that_is_there_is_used_whatever_is_configured(tmp_path, table):
    (tmp_path / "store" / "host=pc1").mkdir(parents=True)
    table(tmp_path / "store", fstab=f"/dev/sdb1 {tmp_path} ext4\n")


def test_only_where_nobody_named_a_store_its_folder_is_made_too(tmp_path, table):
    with pytest.raises(StoreError, match="neither is the folder") as error:
        table(tmp_path / "disk" / "store")
    assert error.value.remedy.endswith(f"mkdir -p {tmp_path / 'disk'}")
    table(tmp_path / "disk" / "store", named=False)


@pytest.mark.parametrize("command", ["watch", "import"])
@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_command_that_stores_makes_no_store_whose_folder_is_missing(
    tmp_path, monkeypatch, command, how
):
    log = tmp_path / "kern.log"
    log.write_text(CONTRACT)
    url = str(tmp_path / "away" / "store")
    options = ["--store", url] if how == "option" else []
    if how == "environment":
        monkeypatch.setenv("LOGTRACE_STORE", url)
    once = ["--once"] if command == "watch" else []
    result = CliRunner().invoke(cli, [command, *once, *options, str(log)])
    assert result.exit_code == 1
    assert "neither is the folder" in result.output
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("command", ["watch", "import"])
def test_the_usual_store_is_made_with_its_folder(tmp_path, monkeypatch, command):
    log = tmp_path / "kern.log"
    log.write_text(CONTRACT)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("LOGTRACE_STORE", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    once = ["--once"] if command == "watch" else []
    result = CliRunner().invoke(cli, [command, *once, "--host", "pc1", str(log)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "data" / "logtrace" / "host=pc1").is_dir()
