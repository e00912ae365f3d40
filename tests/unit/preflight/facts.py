"""Facts about servers that are well, for tests to change."""

from __future__ import annotations

from mnc.model import ClusterTime
from mnc.preflight.facts import AccountFacts, MongoFacts, NatsFacts, OplogFacts, StreamFacts

__all__ = ["GOOD_ACCOUNT", "GOOD_MONGO", "GOOD_NATS", "GOOD_OPLOG", "GOOD_STREAM", "NOW"]

NOW = ClusterTime(1_800_000_000, 1)

GOOD_OPLOG = OplogFacts(
    first=ClusterTime(NOW.seconds - 7 * 86400, 1), last=NOW, used_bytes=1000, max_bytes=1000
)

GOOD_MONGO = MongoFacts(
    address="db:27017",
    version=(7, 0, 2),
    topology="replica set",
    set_name="rs",
    is_writable=True,
    majority_lag_s=0,
    members={"a:1": "PRIMARY", "b:1": "SECONDARY", "c:1": "SECONDARY"},
    write_majority=2,
    database="shop",
    databases=("shop",),
    missing_databases=(),
    watched=("users", "movies"),
    kinds={"users": "collection", "movies": "collection"},
    tokens_collection="tokens",
    privileges=None,
    oplog=GOOD_OPLOG,
    cluster_time=NOW,
    clock_ahead_s=0.001,
    round_trip_s=0.002,
)

GOOD_STREAM = StreamFacts(messages=5, lacks=())

GOOD_ACCOUNT = AccountFacts(
    stored_bytes=2048,
    storage_limit_bytes=None,
    is_clustered=False,
    stream=GOOD_STREAM,
    overlapping=(),
)

GOOD_NATS = NatsFacts(
    address="broker:4222",
    stream="cs",
    subjects=("cs.*.*.*", "cs_position.*"),
    version=(2, 12, 3),
    max_payload_bytes=64 * 1024 * 1024,
    denied=(),
    account=GOOD_ACCOUNT,
)
