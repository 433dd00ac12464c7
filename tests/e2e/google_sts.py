"""A stand-in for the Security Token Service of Google, stricter than the real one.

google-auth gets its tokens from it in test_google_stand_in_clients.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import jwt

from entra_rules import Federation
from google_keys import CLOUD, IAM, File, Wrong, decoded
from google_rules import Ledger, Life, Refused, fields_are, form_of, granted, oauth_error
from upstream import Upstream
from wire import Reply, Request

HOST = "sts.googleapis.com"
PATH = "/v1/token"
URL = f"https://{HOST}{PATH}"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
ID_TYPE = "urn:ietf:params:oauth:token-type:id_token"
FIELDS = {
    "grant_type",
    "audience",
    "scope",
    "requested_token_type",
    "subject_token",
    "subject_token_type",
}


def provider_name(pool: str = "pool", provider: str = "prov", project: str = "123") -> str:
    """The audience that names a provider of a workload identity pool."""
    place = f"projects/{project}/locations/global/workloadIdentityPools/{pool}"
    return f"//iam.googleapis.com/{place}/providers/{provider}"


@dataclass
class Provider:
    """A provider of a pool: whose tokens it takes, and what has to come with them."""

    name: str = field(default_factory=provider_name)
    """The audience of requests."""
    federations: Sequence[Federation] = ()
    listed: set[str] = field(default_factory=set)
    """Subject tokens that are taken as they are."""
    types: Sequence[str] = (JWT_TYPE,)
    impersonating: bool = False
    """Its tokens are for impersonation alone, and asked for with that scope."""
    client: tuple[str, str] | None = None
    """Who asks has to prove to be this client."""
    user_project: str | None = None
    """What a workforce pool bills."""
    life: Life = field(default_factory=Life)

    def principal(self, subject: str) -> str:
        """Who has a token of this provider."""
        pool = self.name.partition("/providers/")[0]
        return f"principal:{pool}/subject/{subject}"

    def file(self, source: Mapping[str, Any], **other: Any) -> File:
        """A credential file that asks for its tokens, other fields put in."""
        return {
            "type": "external_account",
            "audience": self.name,
            "subject_token_type": self.types[0],
            "token_url": URL,
            "credential_source": dict(source),
            "universe_domain": "googleapis.com",
            **other,
        }


class SecurityTokens(Upstream):
    """Exchanges tokens of the providers that it knows."""

    def __init__(self, ledger: Ledger | None = None, *providers: Provider, **options: Any) -> None:
        super().__init__(default=self.served, **options)
        self.ledger = ledger or Ledger()
        self.providers = {one.name: one for one in providers}
        """By audience."""
        self.tolerated: frozenset[str] = frozenset()
        """Headers of Envoy that a test cannot avoid."""
        self.asked: list[Mapping[str, str]] = []
        """The forms that got a token."""
        self.refused: list[str] = []
        """Why requests were refused."""

    def of(self, audience: str) -> list[Request]:
        """The requests for a provider."""
        return [request for request in self.requests if audience_of(request) == audience]

    def script(self, audience: str, handler: Any, *, times: int | None = 1) -> None:
        """The next requests for a provider get what this function answers."""
        self.on(lambda request: audience_of(request) == audience, handler, times=times)

    def served(self, request: Request) -> Reply:
        """A token, if the request deserves one."""
        try:
            if (request.authority, request.path) != (HOST.encode(), PATH):
                where = f"{request.authority!r} {request.target!r}"
                raise refused(404, "invalid_request", f"no such place: {where}")
            form = form_of(request, self.tolerated)
            fields_are(form, FIELDS, frozenset({"options"}))
            fixed = {"grant_type": GRANT, "requested_token_type": ACCESS}
            for name, wanted in fixed.items():
                if form[name] != wanted:
                    raise refused(400, "invalid_request", f"Invalid value for {name}.")
            one = self.providers.get(form["audience"])
            if one is None:
                told = "The target service indicated by the audience parameters is invalid."
                raise refused(400, "invalid_target", told)
            self.proved(request, one)
            who = self.exchanged(form, one)
        except Refused as refusal:
            self.refused.append(str(refusal))
            return refusal.reply
        self.asked.append(form)
        token = self.ledger.issue("federated", who, form["scope"].split(" "), one.life.seconds)
        return granted(token, one.life, issued_token_type=ACCESS)

    def exchanged(self, form: Mapping[str, str], one: Provider) -> str:
        """The principal for whom a form gets a token."""
        wanted = IAM if one.impersonating else CLOUD
        if form["scope"] != wanted:
            raise refused(400, "invalid_scope", f"the scope is {form['scope']!r}, not {wanted!r}")
        if form["subject_token_type"] not in one.types:
            raise refused(400, "invalid_request", "Invalid subject_token_type.")
        self.billed(form, one)
        if form["subject_token"] in one.listed:
            return one.principal("listed")
        return one.principal(subject_of(form["subject_token"], one.federations))

    def proved(self, request: Request, one: Provider) -> None:
        """The request proves to be of the client that the provider wants, or of none."""
        given = request.values("authorization")
        wanted = []
        if one.client:
            wanted = [b"Basic " + base64.b64encode(":".join(one.client).encode())]
        if given != wanted:
            raise refused(401, "invalid_client", f"{len(given)} authorizations, or a wrong one")

    def billed(self, form: Mapping[str, str], one: Provider) -> None:
        """The options name the project that the provider wants; google-auth encodes them twice."""
        found = None
        if "options" in form:
            text = form["options"]
            try:
                found = json.loads(text if text.startswith("{") else unquote(text))
            except ValueError:
                raise refused(400, "invalid_request", "Invalid options.") from None
        wanted = None if one.user_project is None else {"userProject": one.user_project}
        if found != wanted:
            raise refused(400, "invalid_request", f"the options are {found}, not {wanted}")


def subject_of(token: str, federations: Sequence[Federation]) -> str:
    """The subject of a token that one of these identity providers has signed."""
    try:
        header, unverified = decoded(token)
    except Wrong as wrong:
        raise Refused(
            oauth_error(400, "invalid_grant", "Unable to parse the ID Token."), str(wrong)
        ) from None
    left = [one for one in federations if one.issuer == unverified.get("iss")]
    if not left:
        told = "The issuer in ID Token does not match the expected ones."
        raise refused(400, "invalid_grant", told)
    left = [one for one in left if one.audience == unverified.get("aud")]
    if not left:
        told = "The audience in ID Token does not match the expected audience."
        raise refused(400, "invalid_grant", told)
    keys = [key for key in left[0].keys().keys if key.key_id == header.get("kid")]
    options = {"require": ["iss", "aud", "sub", "exp", "iat"], "verify_aud": False}
    try:
        jwt.decode(token, keys[0], algorithms=["RS256"], options=options)
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        told = f"ID Token issued at {unverified.get('iat')} is stale to sign-in."
        raise refused(400, "invalid_grant", told) from None
    except (jwt.PyJWTError, IndexError) as error:
        told = "Error connecting to the given credential's issuer, or a wrong signature."
        raise Refused(oauth_error(400, "invalid_grant", told), repr(error)) from None
    subject = unverified["sub"]
    if subject not in {one.subject for one in left}:
        told = "The given credential is rejected by the attribute condition."
        raise refused(403, "unauthorized_client", told)
    return subject


def refused(status: int, error: str, text: str) -> Refused:
    """A refusal that is told in the same words."""
    return Refused(oauth_error(status, error, text), text)


def audience_of(request: Request) -> str | None:
    """The provider that a request is for."""
    try:
        every = frozenset(name.decode("latin-1") for name, _ in request.headers)
        return form_of(request, every).get("audience")
    except Refused:
        return None
