"""All stand-ins for services of Google, which know one another's tokens, and policies for them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import google_iam
import google_oauth
import google_sts
from google_iam import IamCredentials
from google_keys import File
from google_metadata import HOST as METADATA
from google_metadata import Metadata
from google_oauth import TokenEndpoint
from google_rules import Ledger
from google_sts import SecurityTokens
from google_vertex import Vertex
from manifests import Manifest, policy, secret
from oidc import PASSWORD, oidc
from upstream import Authority, Upstream

REGION = "us-central1"
KEY = "service_account.json"


class Google:
    """The services, each on a port of its own: TLS by the authority, but for the metadata server.

    With `official` they take what google-auth sends beside what is needed.
    """

    def __init__(self, authority: Authority, *, official: bool = False) -> None:
        def tls(*names: str) -> dict[str, Any]:
            return {"tls": authority.server_context(names, http2=False)}

        self.ledger = Ledger()
        names = {name for name, _ in google_oauth.PLACES}
        self.oauth = TokenEndpoint(self.ledger, official=official, **tls(*names))
        self.sts = SecurityTokens(self.ledger, **tls(google_sts.HOST))
        self.iam = IamCredentials(self.ledger, **tls(google_iam.HOST))
        self.metadata = Metadata(self.ledger, official=official)
        self.vertex = Vertex(self.ledger, accounts=self.oauth.accounts)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Google:
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    @property
    def servers(self) -> Sequence[Upstream]:
        """All that listen."""
        return self.oauth, self.sts, self.iam, self.metadata

    @property
    def hosts(self) -> dict[str, int]:
        """The port of each by the names that it has at Google."""
        named = dict.fromkeys((name for name, _ in google_oauth.PLACES), self.oauth.port)
        others = {google_sts.HOST: self.sts.port, google_iam.HOST: self.iam.port}
        return {**named, **others, METADATA: self.metadata.port}

    @property
    def refused(self) -> list[str]:
        """Why any of them refused a request, in no particular order."""
        reasons = (self.oauth, self.sts, self.iam, self.metadata, self.vertex)
        return [text for service in reasons for text in service.refused]

    @property
    def errors(self) -> list[BaseException]:
        """Mistakes of the stand-ins themselves, or of peers."""
        return [error for server in self.servers for error in server.errors]

    def count(self) -> int:
        """How many requests all of them have had."""
        return sum(len(server.begun) for server in self.servers)

    def place(self, name: str, *who: str, region: str = REGION) -> None:
        """Lets tokens of these count in the project of a policy."""
        self.vertex.places = {**self.vertex.places, (project(name), region): set(who)}


# Policies.


def project(name: str) -> str:
    """Every policy has a project of its own."""
    return f"project-of-{name}"


def keyed(name: str, file: File | str | bytes, *, region: str = REGION) -> list[Manifest]:
    """A policy with a credential file, and its Secret; the file as an object or as its text."""
    text = json.dumps(file, indent=2) if isinstance(file, dict) else file
    reference = {"credentialsFile": {"secretRef": {"name": f"{name}-file"}}}
    return [default(name, region=region, **reference), secret(f"{name}-file", KEY, text)]


def federated(
    name: str,
    exchange: Manifest | None = None,
    *,
    account: str | None = None,
    password: str = PASSWORD,
    region: str = REGION,
    pool: Mapping[str, str] | None = None,
    **more: Any,
) -> list[Manifest]:
    """A policy of workload identity federation, and the Secret of its exchange; the pool has the
    policy's name, `account` is acted as, and `more` are fields of `oidcExchangeToken`."""
    config: Manifest = {
        "projectID": "123",
        "workloadIdentityPoolName": name,
        "workloadIdentityProviderName": "prov",
        "oidcExchangeToken": {"oidc": exchange or oidc(name=name), **more},
        **(pool or {}),
    }
    if account is not None:
        config["serviceAccountImpersonation"] = {"serviceAccountName": account}
    reference = {"workloadIdentityFederationConfig": config}
    return [
        default(name, region=region, **reference),
        secret(f"{name}-client", "client-secret", password),
    ]


def default(name: str, *, region: str = REGION, **source: Any) -> Manifest:
    """A policy with what the SDKs do when nothing is configured, or with this source."""
    fields = {"projectName": project(name), "region": region, **source}
    return policy(name, "GCPCredentials", gcpCredentials=fields)
