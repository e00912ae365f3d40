#!/usr/bin/env bash
# Make the stream that the connector publishes to, where an operator wants to choose its settings.
#
# Usage: .scripts/init_nats.sh [options of `nats stream add`, such as --replicas=3 or --max-age=7d]
#
# Without it `mnc serve` makes the same stream at its first start, with one replica and no limits.
# A stream that is there is left alone. Needs the nats command and nats-server 2.12 or newer.
# NATS_SERVER_URL and NATS_STREAM_NAME are those of the connector.
set -euo pipefail

server="${NATS_SERVER_URL:-nats://127.0.0.1:4222}"
stream="${NATS_STREAM_NAME:-cs}"

if ! command -v nats >/dev/null; then
    echo "mnc: nats is not on PATH; install the NATS command line" >&2
    exit 1
fi

# The list is asked for, and not the stream, so that a server that is away is no missing stream.
streams="$(nats --server "$server" stream list --names --all)"
if grep -Fqx -- "$stream" <<<"$streams"; then
    echo "mnc: the stream $stream is there already" >&2
    exit
fi

# Discarding old messages to make room would lose events in silence, hence --discard=new.
nats --server "$server" stream add "$stream" \
    --subjects="$stream.*.*.*,${stream}_position.*,${stream}_deadletter.*" \
    --storage=file --retention=limits --discard=new \
    --allow-batch --allow-rollup --allow-msg-ttl --defaults "$@" >/dev/null
echo "mnc: made the stream $stream" >&2
