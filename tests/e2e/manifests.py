"""Builders of the filter's own configuration: policies, secrets and the settings around them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

Manifest = dict[str, Any]

API = "aigateway.envoyproxy.io"
POOLS = "inference.networking.k8s.io"

FIELDS = {"APIKey": "apiKey", "AnthropicAPIKey": "anthropicAPIKey", "AzureAPIKey": "azureAPIKey"}
"""The field of `spec` that belongs to a type of key."""

HEADERS = {"APIKey": "authorization", "AnthropicAPIKey": "x-api-key", "AzureAPIKey": "api-key"}
"""The header that carries a type of key."""

TYPES = tuple(FIELDS)
"""The types whose credential is a key."""


def header_value(kind: str, key: str) -> bytes:
    """What a provider must see in the header of this type of key."""
    return (f"Bearer {key}" if kind == "APIKey" else key).encode()


def target(name: str) -> Manifest:
    """A `targetRef`: the name of an AIServiceBackend, or `InferencePool/<name>`."""
    kind, _, rest = name.rpartition("/")
    if kind == "InferencePool":
        return {"group": POOLS, "kind": kind, "name": rest}
    return {"group": API, "kind": kind or "AIServiceBackend", "name": rest}


def policy(
    name: str,
    kind: str = "APIKey",
    targets: Sequence[str] | None = None,
    namespace: str | None = None,
    secret: str | None = None,
    version: str = "v1beta1",
    **spec: Any,
) -> Manifest:
    """A BackendSecurityPolicy; `kind` is its type, its one target has its own name by default.

    The Secret of a key type is `<name>-key` unless `secret` names another; further keywords are
    fields of `spec` and win over what follows from `kind`.
    """
    metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    fields: Manifest = {
        "targetRefs": [target(one) for one in ([name] if targets is None else targets)],
        "type": kind,
    }
    if kind in FIELDS:
        fields[FIELDS[kind]] = {"secretRef": {"name": secret or f"{name}-key"}}
    return {
        "apiVersion": f"{API}/{version}",
        "kind": "BackendSecurityPolicy",
        "metadata": metadata,
        "spec": fields | spec,
    }


def secret(
    name: str,
    key: str = "apiKey",
    value: str | bytes = "sk-test",
    namespace: str | None = None,
    encoded: bool = False,
) -> Manifest:
    """A Secret with one key: `stringData`, or base64 `data` if it is encoded or given as bytes."""
    metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    manifest: Manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    if encoded or isinstance(value, bytes):
        data = value if isinstance(value, bytes) else value.encode()
        return manifest | {"data": {key: base64.b64encode(data).decode()}}
    return manifest | {"stringData": {key: value}}


def keyed(
    name: str,
    kind: str = "APIKey",
    key: str = "sk-test",
    targets: Sequence[str] | None = None,
    namespace: str | None = None,
) -> list[Manifest]:
    """A policy and the Secret with its key."""
    return [
        policy(name, kind, targets, namespace=namespace),
        secret(f"{name}-key", value=key, namespace=namespace),
    ]


def config(*resources: Manifest | Sequence[Manifest], **settings: Any) -> Manifest:
    """A plugin configuration; lists among the resources are flattened."""
    flat: list[Manifest] = []
    for one in resources:
        flat.extend([one] if isinstance(one, dict) else one)
    return {"resources": flat, **settings}
