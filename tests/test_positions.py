from deltalake import DeltaTable

from logtrace.positions import Position, Positions, part_name
from logtrace.store import Store


def test_a_store_tells_the_positions_of_all_hosts_also_across_checkpoints(tmp_path):
    store = Store(str(tmp_path / "a 'store' of #1? *"))
    assert not store.positions().of("kmsg:b")
    one, other = store.host("pc1"), store.host("p c/2")
    one.append("file:/x:1", Position(5, -1, 7))
    one.append("log:digest", Position(9, 9))
    DeltaTable(str(store.root / "host=pc1" / "runs")).create_checkpoint()
    *old, _ = sorted((store.root / "host=pc1" / "runs" / "_delta_log").glob("*.json"))
    for file in old:  # as is done with what is older than an hour
        file.unlink()
    one.append("file:/x:2", Position(6, 6, 0))
    other.append("file:/x:1", Position(8, 8))
    positions = store.positions()
    assert positions.of("file:/x:1") == {"pc1": Position(5, -1, 7), "p c/2": Position(8, 8)}
    assert positions.of("file:/x:2") == {"pc1": Position(6, 6, 0)}
    assert not positions.of("log:digest")
    assert positions.knows_path("file:/x")
    assert positions.knows_below("/")
    assert not positions.knows_below("/x")
    assert store.positions({"pc1"}).hosts() == {"pc1"}


def test_parts_of_followed_logs_are_known_by_the_source_of_their_rows():
    positions = Positions()
    digest = "0123456789ab" + 52 * "c"
    names = [part_name("/var/log/a:b@c", digest), part_name("/x", digest + "+12"), "kmsg:b"]
    for name in names:
        positions.note("pc1", name, Position(1, 1))
    assert positions.parts() == [
        ("pc1", "/var/log/a:b@c@0123456789ab"),
        ("pc1", "/x@0123456789ab+12"),
    ]
