import pytest

from logtrace import config
from logtrace.cluster import default_scheduler
from logtrace.config import Config, Shipping, Thresholds
from logtrace.errors import ConfigError, QueryError
from logtrace.store import default_url


def written(path, text):
    path.write_text(text)
    return path


def test_what_no_file_says_is_built_in(tmp_path):
    assert config.load([]) == Config()
    assert config.load([written(tmp_path / "a", "")]) == Config(findings=Thresholds())


def test_later_files_go_over_earlier_ones_line_by_line(tmp_path):
    first = written(tmp_path / "a", 'store = "/one"\n[findings]\nseeks = 5\nsmall_bytes = 2.5\n')
    second = written(tmp_path / "b", "[findings]\nseeks = 6\n")
    loaded = config.load([first, second])
    assert loaded == Config("/one", findings=Thresholds(seeks=6, small_bytes=2.5))


def test_where_to_ship_and_how_much_may_wait_are_configured(tmp_path):
    first = written(tmp_path / "a", '[ship]\nto = "s3://lab"\nspool_bytes = 5\n')
    second = written(tmp_path / "b", "[ship]\nspool_bytes = 6\n")
    assert config.load([first, second]).ship == Shipping("s3://lab", 6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stoer = 1", "stoer is not known (did you mean store?)"),
        ("colour = 1", "colour is not known (it may have store, findings, hosts, ship, scheduler)"),
        ("store = 5", "store is no text"),
        ('store = ""', "store is no text"),
        ("scheduler = 5", 'scheduler is no text (write scheduler = "tcp://lab:8786")'),
        ("findings = 1", "findings is no table"),
        ("[findings]\nseek = 5", "findings.seek is not known (did you mean seeks?)"),
        ("[findings]\nseeks = 1.5", "findings.seeks is 1.5 (write a whole number above 0"),
        ("[findings]\nseeks = true", "findings.seeks is True"),
        ("[findings]\nsmall_bytes = -1", "findings.small_bytes is -1 (write a number above 0"),
        ("[findings]\nsmall_bytes = nan", "findings.small_bytes is nan"),
        ("hosts = 1", "hosts is no table"),
        ("[hosts]\nsilent_hour = 5", "hosts.silent_hour is not known (did you mean silent_hours?)"),
        ("[hosts]\nsilent_hours = 0", "hosts.silent_hours is 0 (write a number above 0"),
        ("store = ", "no TOML"),
        ("ship = 1", "ship is no table (write [ship] above its lines)"),
        ("[ship]\nto = 1", 'ship.to is no text (write to = "s3://lab/logtrace")'),
        ("[ship]\nspol_bytes = 1", "ship.spol_bytes is not known (did you mean spool_bytes?)"),
        ("[ship]\nspool_bytes = 0", "ship.spool_bytes is 0 (write a whole number above 0"),
        ("[ship]\nspool_bytes = 1e9", "ship.spool_bytes is 1000000000.0"),
        ("[ship]\nspool_bytes = true", "ship.spool_bytes is True"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_file_and_the_remedy(tmp_path, text, said):
    path = written(tmp_path / "logtrace.toml", text)
    with pytest.raises(ConfigError) as error:
        config.load([path])
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)


def test_files_are_looked_for_in_the_users_folder_and_where_the_environment_says(tmp_path):
    own = tmp_path / "logtrace" / "logtrace.toml"
    own.parent.mkdir()
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "LOGTRACE_CONFIG": "/named.toml"}
    assert str(own) not in map(str, config.places(environ))
    own.write_text("")
    assert [str(path) for path in config.places(environ)][-2:] == [str(own), "/named.toml"]


def test_a_named_file_has_to_exist(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        config.load(config.places({"LOGTRACE_CONFIG": str(tmp_path / "none")}))


def test_the_configured_store_is_used_where_none_is_named(tmp_path):
    path = written(tmp_path / "logtrace.toml", 'store = "/srv/lab"')
    environ = {"LOGTRACE_CONFIG": str(path)}
    assert default_url(environ) == "/srv/lab"
    assert default_url(environ | {"LOGTRACE_STORE": "/named"}) == "/named"


def test_the_configured_scheduler_is_used_where_none_is_named(tmp_path):
    path = written(tmp_path / "logtrace.toml", 'scheduler = "tcp://lab:8786"')
    environ = {"LOGTRACE_CONFIG": str(path)}
    assert default_scheduler(environ) == "tcp://lab:8786"
    assert default_scheduler(environ | {"LOGTRACE_SCHEDULER": "tcp://a:1"}) == "tcp://a:1"
    with pytest.raises(QueryError, match="--scheduler"):
        default_scheduler({"XDG_CONFIG_HOME": str(tmp_path)})
