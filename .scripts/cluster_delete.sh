#!/usr/bin/env bash
# Delete what .scripts/cluster_create.sh made: the cluster, its data, and the registry.
#
# Usage: .scripts/cluster_delete.sh
set -euo pipefail

for tool in docker kind; do
    if ! command -v "$tool" >/dev/null; then
        echo "mnc: $tool is not on PATH; install it first" >&2
        exit 1
    fi
done

kind delete cluster --name mnc
docker rm --force --volumes mnc-registry >/dev/null
echo "mnc: the cluster and the registry are gone" >&2
