"""A stand-in for the token endpoint of Entra ID, stricter than the real one, and policies for it.

What it refuses, and how, is modelled on the documentation of Microsoft. The official clients get
their tokens from it in test_entra_clients.py.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from entra_rules import Federation, Refused, encoded, federated, parsed
from manifests import Manifest, policy, secret
from replies import default_reply, json_reply
from upstream import Upstream
from wire import Reply, Request

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
PUBLIC, GOVERNMENT, CHINA = (
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.chinacloudapi.cn",
)
FORM = "application/x-www-form-urlencoded"

FIELDS = {"client_id", "grant_type", "scope"}
SECRET = {"client_secret"}
ASSERTION = {"client_assertion", "client_assertion_type"}
OF_CLIENTS = {"client_info"}
"""Fields that the official clients add."""

LEAKED = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-egress-scheme",
    "x-request-id",
    "x-envoy-internal",
    "x-envoy-expected-rq-timeout-ms",
)
"""Headers that a client never sends here, but a careless proxy may."""


def scope_of(host: str) -> str:
    """The scope of Azure OpenAI in the cloud of an authority."""
    clouds = {GOVERNMENT: "us", CHINA: "cn", "login.partner.microsoftonline.cn": "cn"}
    return f"https://cognitiveservices.azure.{clouds.get(host, 'com')}/.default"


@dataclass
class Application:
    """An application of a tenant."""

    secret: str | None = None
    federations: Sequence[Federation] = ()


@dataclass
class Issued:
    """A token that was given."""

    tenant: str
    client: str
    end: float


@dataclass(frozen=True)
class Asked:
    """What a request asked for, once decoded."""

    tenant: str
    form: Mapping[str, str]


@dataclass
class Life:
    """How tokens are answered; `raw` is the text of `expires_in`, None leaves it out."""

    seconds: float = 3599
    raw: str | None = ""
    kind: str = "opaque"
    more: Mapping[str, Any] = field(default_factory=dict)


class Entra(Upstream):
    """The token endpoint of an authority. With `official` it also answers what only the official
    clients ask for."""

    def __init__(
        self,
        applications: Mapping[tuple[str, str], Application] | None = None,
        *,
        host: str = PUBLIC,
        official: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(default=self.served, **options)
        self.applications = dict(applications or {})
        """By tenant and client."""
        self.name = host
        self.scopes = [scope_of(host)]
        self.official = official
        self.life = Life()
        self.issued: dict[str, Issued] = {}
        self.refused: list[str] = []
        """Why requests were refused."""
        self.asked: list[Asked] = []
        """What was asked for, of the requests that were understood."""

    # For the test.

    def answer_once(self, tenant: str, handler: Reply) -> None:
        """The next request for a tenant gets this reply."""
        self.on(token_path(tenant), lambda _request: handler, times=1)

    def of(self, tenant: str) -> list[Request]:
        """The token requests for a tenant."""
        return [request for request in self.requests if request.path == token_path(tenant)]

    def alive(self, token: str, now: float | None = None) -> bool:
        """Whether this token was issued here and has not ended."""
        issued = self.issued.get(token)
        return issued is not None and (time.time() if now is None else now) < issued.end

    def provider(self, request: Request) -> Reply:
        """What Azure OpenAI answers: 401 unless the one credential is a token that is alive."""
        values = [value.decode("latin-1") for value in request.values("authorization")]
        bearers = [value.removeprefix("Bearer ") for value in values if value[:7] == "Bearer "]
        if len(values) != 1 or len(bearers) != 1 or not self.alive(bearers[0]):
            return json_reply({"error": {"code": "401", "message": f"{len(values)} values"}}, 401)
        return default_reply(request)

    def issue(self, tenant: str, client: str, scope: str, life: Life | None = None) -> Reply:
        """Gives a token."""
        how = life or self.life
        now = time.time()
        end = now + how.seconds
        token = secrets.token_urlsafe(40)
        if how.kind == "jwt":
            audience = scope.removesuffix("/.default")
            claims = {"aud": audience, "appid": client, "iat": int(now), "exp": int(end)}
            parts = ({"typ": "JWT", "alg": "RS256", "kid": "k"}, claims)
            token = ".".join([*(encoded(part) for part in parts), secrets.token_urlsafe(342)])
        self.issued[token] = Issued(tenant, client, end)
        raw = json.dumps(how.seconds) if how.raw == "" else how.raw
        body = json.dumps({"token_type": "Bearer", "access_token": token, **how.more})
        if raw is not None:
            body = f'{{"expires_in": {raw}, "ext_expires_in": {raw}, {body[1:]}'
        reply = json_reply({})
        reply.body = body.encode()
        return reply

    # The service.

    def served(self, request: Request) -> Reply:
        """Answers a token request, and what official clients look up before."""
        try:
            if self.official and request.method == "GET":
                return self.discovered(request)
            asked = self.understood(request)
            self.asked.append(asked)
            return self.granted(asked)
        except Refused as refusal:
            self.refused.append(str(refusal))
            return refusal.reply

    def understood(self, request: Request) -> Asked:
        """The request decoded, if it has the right form."""
        path = re.fullmatch(r"/([A-Za-z0-9.-]+)/oauth2/v2\.0/token", request.target.decode())
        if not path:
            raise Refused(404, "invalid_request", 90014, f"no such path {request.target!r}")
        if request.method != "POST":
            raise Refused(400, "invalid_request", 900561, "the endpoint accepts POST only")
        if request.authority.decode() != self.name:
            raise Refused(400, "invalid_request", 90009, f"this is not {request.authority!r}")
        leaks = [name for name in LEAKED if request.values(name)]
        if leaks:
            raise Refused(400, "invalid_request", 90015, f"headers of a proxy: {leaks}")
        if request.values("content-type") != [FORM.encode()]:
            raise Refused(400, "invalid_request", 900144, "the body must be a form")
        if request.query or request.trailers:
            raise Refused(400, "invalid_request", 90014, "a query or trailers")
        form = parsed(request.body)
        known = FIELDS | SECRET | ASSERTION | (OF_CLIENTS if self.official else set())
        if unknown := form.keys() - known:
            raise Refused(400, "invalid_request", 90014, f"unknown fields {sorted(unknown)}")
        return Asked(path[1], form)

    def granted(self, asked: Asked) -> Reply:
        """A token, if the request deserves one."""
        form = asked.form
        for name in sorted(FIELDS):
            if not form.get(name):
                raise Refused(400, "invalid_request", 900144, f"the form must hold {name}")
        if form["grant_type"] != "client_credentials":
            raise Refused(400, "unsupported_grant_type", 70003, "no such grant")
        tenant, client, scope = asked.tenant, form["client_id"], form["scope"]
        if tenant not in {known for known, _ in self.applications}:
            raise Refused(400, "invalid_request", 90002, "no such tenant")
        application = self.applications.get((tenant, client))
        if application is None:
            raise Refused(400, "unauthorized_client", 700016, "no such application")
        if not re.fullmatch(r"\S+/\.default", scope):
            raise Refused(400, "invalid_scope", 1002012, "the scope must be one /.default")
        if scope not in self.scopes:
            raise Refused(400, "invalid_resource", 500011, "no such resource")
        given = form.keys() & (SECRET | ASSERTION)
        if given == SECRET:
            if application.secret is None or form["client_secret"] != application.secret:
                raise Refused(401, "invalid_client", 7000215, "the secret is wrong")
        elif given == ASSERTION:
            federated(form, application.federations)
        else:
            raise Refused(401, "invalid_client", 7000218, "a secret or an assertion is needed")
        return self.issue(tenant, client, scope)

    def discovered(self, request: Request) -> Reply:
        """The documents that official clients ask for."""
        base = f"https://{self.name}"
        tenant = request.path.split("/")[1]
        if request.path == "/common/discovery/instance":
            document = f"{base}/{TENANT}/v2.0/.well-known/openid-configuration"
            names = {"preferred_network": self.name, "preferred_cache": self.name}
            metadata = [{**names, "aliases": [self.name]}]
            return json_reply({"tenant_discovery_endpoint": document, "metadata": metadata})
        if request.path != f"/{tenant}/v2.0/.well-known/openid-configuration":
            raise Refused(404, "invalid_request", 90014, f"no such path {request.target!r}")
        endpoints = {"token_endpoint": "token", "authorization_endpoint": "authorize"}
        urls = {name: f"{base}/{tenant}/oauth2/v2.0/{end}" for name, end in endpoints.items()}
        keys = f"{base}/{tenant}/discovery/v2.0/keys"
        return json_reply({**urls, "issuer": f"{base}/{tenant}/v2.0", "jwks_uri": keys})


# Policies.


def token_path(tenant: str) -> str:
    """Where a tenant gives tokens."""
    return f"/{tenant}/oauth2/v2.0/token"


def azure(
    name: str = "azure",
    password: str | bytes = "se~cret+/=&%",
    tenant: str = TENANT,
    client: str = CLIENT,
) -> list[Manifest]:
    """A policy of an application with a secret, and that Secret."""
    fields = {"clientID": client, "tenantID": tenant}
    reference = {"clientSecretRef": {"name": f"{name}-secret"}}
    return [
        policy(name, "AzureCredentials", azureCredentials={**fields, **reference}),
        secret(f"{name}-secret", "client-secret", password),
    ]
