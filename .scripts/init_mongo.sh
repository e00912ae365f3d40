#!/usr/bin/env bash
# Make a MongoDB server a replica set, and give its database two collections with a document each.
#
# Usage: .scripts/init_mongo.sh [HOST:PORT]     127.0.0.1:27017 without one
#
# The address is also what the replica set calls its only member, so clients have to reach it there.
# What is there already is left alone. Needs mongosh; the server was started with --replSet rs0.
# MONGO_REPLICA_SET and MONGO_DATABASE name others than rs0 and test.
set -euo pipefail

export MONGO_ADDRESS="${1:-127.0.0.1:27017}"
export MONGO_REPLICA_SET="${MONGO_REPLICA_SET:-rs0}"
database="${MONGO_DATABASE:-test}"

if ! command -v mongosh >/dev/null; then
    echo "mnc: mongosh is not on PATH; install the MongoDB Shell" >&2
    exit 1
fi

script="$(cat <<'JS'
const { MONGO_ADDRESS: host, MONGO_REPLICA_SET: name } = process.env;
try {
    rs.status();
} catch (error) {
    if (error.codeName !== "NotYetInitialized") throw error;
    rs.initiate({ _id: name, members: [{ _id: 0, host }] });
}
const deadline = Date.now() + 30000;
while (!db.hello().isWritablePrimary) {
    if (Date.now() > deadline) throw new Error("the server did not become primary within 30 s");
    sleep(100);
}
const samples = {
    users: { _id: "ada", name: "Ada Lovelace", city: "London" },
    movies: { _id: "metropolis", title: "Metropolis", year: 1927 },
};
for (const [collection, document] of Object.entries(samples)) {
    const { _id, ...fields } = document;
    db.getCollection(collection).updateOne({ _id }, { $setOnInsert: fields }, { upsert: true });
}
JS
)"
# mongosh waits 30 s for a server that is still starting. Its input isn't this script, which `bash -s`
# reads from there.
mongosh --quiet "mongodb://$MONGO_ADDRESS/$database?directConnection=true" --eval "$script" \
    </dev/null >/dev/null
echo "mnc: $database at $MONGO_ADDRESS has the collections users and movies" >&2
