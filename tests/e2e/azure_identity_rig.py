"""An Envoy whose policies use identities of Azure that need no secret."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import entra_rig
from bootstrap import Config
from egress import FILES, SETTINGS, calls, egress, running_with_egress
from entra import CLIENT, TENANT, Entra
from entra_rules import Federation
from launch import poll
from managed_identity import ManagedIdentities
from manifests import Manifest, config, policy
from mounts import Secret
from oidc import Issuer
from upstream import Authority

WORKLOAD: Config = {"azureIdentity": "WorkloadIdentity"}
SUBJECT = "system:serviceaccount:ai:gateway"
FILE = "AZURE_FEDERATED_TOKEN_FILE"
KEY = "azure-identity-token"

Identities = Mapping[str, Config]
"""What each policy says of its identity, beside the manifest."""


def managed(**which: str) -> Config:
    """The managed identity of the system, or the user-assigned one that is named."""
    found: Config = {"azureIdentity": "ManagedIdentity"}
    return found | ({"managedIdentity": which} if which else {})


def bare(name: str, tenant: str = TENANT, client: str = CLIENT, **more: Any) -> Manifest:
    """A policy that names no secret."""
    fields = {"clientID": client, "tenantID": tenant, **more}
    return policy(name, "AzureCredentials", azureCredentials=fields)


@dataclass
class Rig(entra_rig.Rig):
    """A backend for each policy, of the same name; the provider behind them takes only tokens
    that its service has issued and that are alive."""

    entra: Entra | ManagedIdentities

    def served(self, name: str) -> bool:
        """Whether a request of a backend is answered."""
        return self.ask(name, entra_rig.THEIRS, entra_rig.TARGET).status == 200

    def newest(self) -> str:
        """The token that the last request carried."""
        value = self.upstream.requests[-1].header("authorization") or ""
        return value.removeprefix("Bearer ")

    def wait_for_failures(self, name: str, timeout: float = 10) -> dict[str, int]:
        """How often fetches have failed, by reason, as soon as any has."""
        return poll(lambda: self.failures(name), timeout, f"a failure of {name}")

    def wait_for_fetches(self, name: str, at_least: int = 1, timeout: float = 10) -> int:
        """How often a token was obtained, as soon as it was so often."""
        return self.envoy.wait_for_metric(f"policy.default/{name}.fetched", at_least, timeout)


@contextlib.contextmanager
def serving(
    identities: Identities,
    service: Entra | ManagedIdentities,
    authority: Authority | None = None,
    *,
    manifests: Mapping[str, Manifest] | None = None,
    env: Mapping[str, str] | None = None,
    hosts: Mapping[str, int] | None = None,
    mounts: Sequence[Path] = (),
    egress_settings: Config | None = None,
    plugin: Config | None = None,
    inherited: bool = False,
    **options: Any,
) -> Iterator[Rig]:
    """An Envoy with a policy for each identity, all in one configuration, to which `plugin` is
    added. A policy has the manifest that is given, or one that only names tenant and client.

    `env` is the environment of the VM, beside what leads to a service of managed identities; with
    `inherited` it is Envoy's own, of which the configuration has only the names. `hosts` are
    further ones that the filter may call and `mounts` the folders whose files it may read; the
    rest goes to `running_with_egress`.
    """
    places = dict(hosts or {})
    variables: dict[str, str] = {}
    if isinstance(service, Entra):
        places[service.name] = service.port
    else:
        variables |= service.environment()
    way = egress(mounts, ca_pem=authority.pem if authority else None, hosts=places)
    given = manifests or {}
    resources = [given.get(name) or bare(name) for name in identities]
    settings = {
        **SETTINGS,
        "egress": {**SETTINGS["egress"], **(egress_settings or {})},
        "policies": {f"default/{name}": identity for name, identity in identities.items()},
    }
    whole = config(*resources, **{**settings, **(plugin or {})})
    plugins = dict.fromkeys(identities, whole)
    variables |= env or {}
    of_filter: dict[str, Any] = {"vm_env": variables}
    if inherited:
        of_filter = {"host_env_keys": list(variables)}
        options["env"] = variables
    with running_with_egress(plugins, way, options=of_filter, **options) as gateway:
        gateway.upstream.on(None, service.provider)
        yield Rig(gateway.envoy, gateway.upstream, service)
        assert gateway.upstream.errors == []
        assert service.errors == []


class Pod:
    """The volume with the token of a service account of AKS, which the kubelet replaces."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volume = Secret(root, "tokens", "azure")
        # Nobody asks it for anything: the kubelet brings its tokens.
        self.issuer = Issuer("https://eastus.oic.prod-aks.azure.com/0a1b/2c3d/")
        self.issuer.claims |= {"sub": SUBJECT}
        self.tokens: list[str] = []

    @property
    def path(self) -> Path:
        """The file."""
        return self.volume.path(KEY)

    def put(self, form: str = "{}", **claims: Any) -> str:
        """Puts another token there, in one step; gives it."""
        self.tokens.append(self.issuer.token(jti=str(len(self.tokens)), **claims))
        self.volume.swap({KEY: form.format(self.tokens[-1])})
        return self.tokens[-1]

    def environment(self, **more: str) -> dict[str, str]:
        """What the webhook of AKS puts into the environment, with ids that are not the policy's."""
        theirs = {"AZURE_CLIENT_ID": "of-the-webhook", "AZURE_TENANT_ID": "of-the-webhook"}
        return {**theirs, FILE: str(self.path), **more}

    def federation(self) -> Federation:
        """What an application says to trust the account."""
        return Federation(self.issuer.issuer, SUBJECT, self.issuer.keys)

    def reads(self, rig: Rig) -> list[int]:
        """The statuses with which the file was read."""
        return [call.status for call in calls(rig.envoy, FILES, str(self.path))]
