#!/usr/bin/env bash
# Make a local Kubernetes cluster with a registry beside it, for Tilt and for trying the manifests.
#
# Usage: .scripts/cluster_create.sh
#
# What is there already is left alone. Needs docker, kind 0.27 or newer, and kubectl.
# The cluster is "mnc" (context kind-mnc), the registry localhost:5001.
set -euo pipefail

cluster=mnc
registry=mnc-registry
port=5001

say() { echo "mnc: $*" >&2; }

for tool in docker kind kubectl; do
    if ! command -v "$tool" >/dev/null; then
        say "$tool is not on PATH; install it first"
        exit 1
    fi
done

if ! docker start "$registry" >/dev/null 2>&1; then
    say "starting a registry on 127.0.0.1:$port"
    docker run --detach --restart=always --name "$registry" \
        --publish "127.0.0.1:$port:5000" registry:2 >/dev/null
fi

# No pipes into grep or docker: who ends without reading all would end the script.
clusters="$(kind get clusters)"
if ! grep -Fqx "$cluster" <<<"$clusters"; then
    kind create cluster --name "$cluster" --wait 120s
fi

# The registry's name on a node is another than on this machine, and it has no TLS.
for node in $(kind get nodes --name "$cluster"); do
    folder="/etc/containerd/certs.d/localhost:$port"
    docker exec "$node" mkdir -p "$folder"
    docker exec --interactive "$node" cp /dev/stdin "$folder/hosts.toml" \
        <<<"[host.\"http://$registry:5000\"]"
done
networks="$(docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$registry")"
if ! grep -Fqx kind <<<"$networks"; then
    docker network connect kind "$registry"
fi

# Where Tilt looks for a cluster's registry.
kubectl --context "kind-$cluster" apply --filename - <<EOF
apiVersion: v1
kind: ConfigMap
metadata:
  name: local-registry-hosting
  namespace: kube-public
data:
  localRegistryHosting.v1: |
    host: "localhost:$port"
EOF
say "the cluster is ready: kubectl --context kind-$cluster get nodes"
