"""The Kubernetes manifests: valid, without rights, and in step with the connector."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from monitoring.alerts import ALERTS
from tests.deploy.checkout import dockerfile
from tests.deploy.manifests import INSTANCE_LABELS, Manifest, pods, rendered, the

from mnc import __version__
from mnc.config import Settings, load_settings, setting_rows

_FOLDERS = ["infra", "overlays/local", "overlays/production"]
_OVERLAYS = ["overlays/local", "overlays/production"]
_KUBERNETES = "1.36"
_OPERATOR = "monitoring.coreos.com/v1"

_CLOSING_S = 5
"""What a shutdown takes beside draining: the clients, and answers of the HTTP server."""


@pytest.mark.parametrize("folder", _FOLDERS)
def test_kubernetes_knows_every_field(folder: str) -> None:
    """No manifest has a field that is misspelt or misplaced, which Kubernetes would drop."""
    for manifest in rendered(folder):
        if manifest["apiVersion"] != _OPERATOR:
            kubernetes_validate.validate(manifest, _KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", _FOLDERS)
def test_no_pod_has_rights(folder: str) -> None:
    """Every pod fulfils the restricted Pod Security Standard, and has no token of Kubernetes."""
    for _, pod in pods(folder):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("folder", _OVERLAYS)
def test_an_instance_runs_as_the_image_wants_it(folder: str) -> None:
    """User, volume and port are the image's, and the rest of its file system is read-only."""
    pod, container = _instance(folder)
    user, group = re.findall(r"^USER (\d+):(\d+)$", dockerfile(), re.MULTILINE)[0]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["securityContext"]["fsGroup"] == int(group)
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    state = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}["state"]
    assert f"RAFT_LOG_PATH={state}\n" in dockerfile()
    assert f"VOLUME {state}\n" in dockerfile()
    assert f"EXPOSE {container['ports'][0]['containerPort']}\n" in dockerfile()


@pytest.mark.parametrize("folder", _OVERLAYS)
def test_an_instance_keeps_its_name_and_its_disk(folder: str) -> None:
    """A pod that is replaced is the same member of the cluster."""
    stateful_set = the(folder, "StatefulSet")["spec"]
    (claim,) = stateful_set["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "state"
    _, container = _instance(folder)
    (name,) = [item for item in container["env"] if item["name"] == "RAFT_NODE_NAME"]
    assert name["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


@pytest.mark.parametrize("folder", _OVERLAYS)
def test_the_first_instances_start_together(folder: str) -> None:
    """A cluster forms, for which RAFT_CLUSTER_SIZE instances have to meet before one is ready."""
    stateful_set = the(folder, "StatefulSet")["spec"]
    assert stateful_set["podManagementPolicy"] == "Parallel"
    assert stateful_set["replicas"] >= int(the(folder, "ConfigMap")["data"]["RAFT_CLUSTER_SIZE"])


@pytest.mark.parametrize("folder", _OVERLAYS)
def test_the_settings_are_good_ones(folder: str, tmp_path: Path) -> None:
    """`mnc serve` accepts what a pod is given, and each name is that of a setting."""
    environ = _environ(folder, secrets=tmp_path)
    names = {row.name for row in setting_rows()}
    assert {name.removesuffix("_FILE") for name in environ} <= names
    for name, value in _secrets(folder).items():
        (tmp_path / name).write_text(value)
    settings = load_settings({**environ, "RAFT_NODE_NAME": "mnc-0"})
    assert settings.raft_node_name == "mnc-0"


@pytest.mark.parametrize("folder", _OVERLAYS)
def test_kubernetes_waits_for_a_shutdown(folder: str) -> None:
    """A pod that drains as long as it may is not killed while it does."""
    pod, _ = _instance(folder)
    shutdown_s = Settings.model_fields["shutdown_timeout_s"].default
    assert pod["terminationGracePeriodSeconds"] >= shutdown_s + _CLOSING_S


@pytest.mark.parametrize("folder", _OVERLAYS)
def test_probes_ask_what_they_should(folder: str) -> None:
    """A pod is restarted when its event loop stands still, and not when a server is away."""
    _, container = _instance(folder)
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("folder", _OVERLAYS)
def test_selectors_find_the_instances_and_nobody_else(folder: str) -> None:
    """The service, the budget, the policies and the spread are about the connector's pods."""
    selectors = list(_selectors(folder))
    assert len(selectors) >= 6
    for selector in selectors:
        assert selector == INSTANCE_LABELS
    selected = [labels for labels, _ in pods(folder) if INSTANCE_LABELS.items() <= labels.items()]
    assert len(selected) == 1


def test_secrets_of_production_are_not_in_the_manifests() -> None:
    """Whoever operates it makes the Secret; the repository holds none, not even a sample."""
    assert [item for item in rendered("overlays/production") if item["kind"] == "Secret"] == []


def test_production_spreads_over_nodes() -> None:
    """The loss of a node is the loss of one instance, and a node that drains takes one with it."""
    pod, _ = _instance("overlays/production")
    (hosts,) = [
        spread["whenUnsatisfiable"]
        for spread in pod["topologySpreadConstraints"]
        if spread["topologyKey"] == "kubernetes.io/hostname"
    ]
    assert hosts == "DoNotSchedule"
    budget = the("overlays/production", "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1


def test_production_runs_this_version() -> None:
    """A checkout's manifests go with its code."""
    _, container = _instance("overlays/production")
    assert container["image"].rpartition(":")[2] == __version__


def test_alerts_and_the_dashboard_are_deployed() -> None:
    """Production has the alerts, and the dashboard where Grafana's sidecar finds it."""
    (group,) = the("overlays/production", "PrometheusRule")["spec"]["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
    dashboard = the("overlays/production", "ConfigMap", "mnc-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["dashboard.json"])["title"] == "mnc"


def _instance(folder: str) -> tuple[Manifest, Manifest]:
    """Return the specification of the connector's pod and of its container."""
    pod: Manifest = the(folder, "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def _environ(folder: str, *, secrets: Path) -> Mapping[str, str]:
    """Return what a pod's variables are, with the mounted secrets in the folder `secrets`."""
    _, container = _instance(folder)
    config_map = the(folder, "ConfigMap")
    assert container["envFrom"] == [{"configMapRef": {"name": config_map["metadata"]["name"]}}]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}["secrets"]
    variables = {item["name"]: item["value"] for item in container["env"] if "value" in item}
    return {
        **config_map["data"],
        **{name: value.replace(mounted, str(secrets)) for name, value in variables.items()},
    }


def _secrets(folder: str) -> Mapping[str, str]:
    """Return the Secret that a pod mounts; for production, one such as an operator makes."""
    pod, _ = _instance(folder)
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
    if folder == "overlays/production":
        assert volume["secret"]["secretName"] == "mnc"
        return {
            "mongo-uri": "mongodb://db.example.com/shop",
            "nats-server-url": "tls://example.com",
        }
    secret = the(folder, "Secret")
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    return {name: b64decode(value).decode() for name, value in secret["data"].items()}


def _selectors(folder: str) -> Iterator[Mapping[str, str]]:
    """Return every selector of the resources that are the connector's."""
    for manifest in rendered(folder):
        if manifest["metadata"].get("labels") != INSTANCE_LABELS:
            continue
        match manifest:
            case {"kind": "Service", "spec": spec}:
                yield spec["selector"]
            case {"kind": "NetworkPolicy", "spec": spec}:
                yield _labels(spec["podSelector"])
            case {"kind": "StatefulSet", "spec": spec}:
                yield _labels(spec["selector"])
                for spread in spec["template"]["spec"]["topologySpreadConstraints"]:
                    yield _labels(spread["labelSelector"])
            case {"kind": "PodDisruptionBudget" | "ServiceMonitor", "spec": spec}:
                yield _labels(spec["selector"])


def _labels(selector: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = selector["matchLabels"]
    return labels
