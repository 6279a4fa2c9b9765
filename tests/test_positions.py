from deltalake import DeltaTable

from logtrace.positions import Position
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
