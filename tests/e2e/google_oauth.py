"""A stand-in for the token endpoint of Google, stricter than the real one.

What it refuses, and how, is modelled on the documentation of Google. google-auth gets its tokens
from it in test_google_stand_in_clients.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google_keys import CLOUD, SCOPES, TOKEN_URI, File, ServiceAccount, Wrong, decoded
from google_rules import Ledger, Life, Refused, fields_are, form_of, granted, oauth_error
from upstream import Upstream
from wire import Reply, Request

HOST = "oauth2.googleapis.com"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PLACES = {
    (HOST, "/token"): TOKEN_URI,
    ("www.googleapis.com", "/oauth2/v4/token"): "https://www.googleapis.com/oauth2/v4/token",
    ("accounts.google.com", "/o/oauth2/token"): "https://accounts.google.com/o/oauth2/token",
}
"""Where it is, and what a file calls that."""

BAD_TIME = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    " Check your iat and exp values in the JWT claim."
)


@dataclass(frozen=True)
class User:
    """One who has given a refresh token to a client."""

    refresh_token: str = "1//0refresh+of/the=user&%"
    client_id: str = "764086051850.apps.googleusercontent.com"
    client_secret: str = "d-FL95Q19q7MQmFpd7+/=&%"
    scopes: Sequence[str] = (CLOUD,)

    def file(self, **other: Any) -> File:
        """What gcloud writes for it, other fields put in."""
        fields = {"client_id": self.client_id, "client_secret": self.client_secret}
        return {
            "type": "authorized_user",
            **fields,
            "refresh_token": self.refresh_token,
            "universe_domain": "googleapis.com",
            **other,
        }


@dataclass(frozen=True)
class Granted:
    """What a request got, and for what."""

    grant: str
    who: str
    place: str
    scopes: tuple[str, ...]
    claims: Mapping[str, Any] = field(default_factory=dict)


class TokenEndpoint(Upstream):
    """Gives tokens to service accounts and users. With `official` it takes the audience that
    google-auth writes, whatever the `token_uri` of the file."""

    def __init__(
        self,
        ledger: Ledger | None = None,
        *accounts: ServiceAccount,
        users: Sequence[User] = (),
        official: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(default=self.served, **options)
        self.ledger = ledger or Ledger()
        self.accounts = {account.email: account for account in accounts}
        self.users = list(users)
        self.official = official
        self.tolerated: frozenset[str] = frozenset()
        """Headers of Envoy that a test cannot avoid."""
        self.life = Life()
        self.lives: dict[str, Life] = {}
        """Those of some accounts, by their e-mail addresses."""
        self.given: list[Granted] = []
        self.refused: list[str] = []
        """Why requests were refused."""

    def of(self, who: str) -> list[Request]:
        """The requests of an account, by what they claim."""
        return [request for request in self.requests if claimed(request) == who]

    def script(self, who: str, handler: Any, *, times: int | None = 1) -> None:
        """The next requests of an account get what this function answers."""
        self.on(lambda request: claimed(request) == who, handler, times=times)

    def served(self, request: Request) -> Reply:
        """A token, if the request deserves one."""
        try:
            place = PLACES.get((request.authority.decode("latin-1"), request.path))
            if place is None:
                where = f"{request.authority!r} {request.target!r}"
                raise refused(404, "invalid_request", f"no such place: {where}")
            form = form_of(request, self.tolerated)
            grant = form.get("grant_type")
            if grant == JWT_BEARER:
                return self.to_account(form, place)
            if grant == "refresh_token":
                return self.to_user(form, place)
            raise refused(400, "unsupported_grant_type", f"Invalid grant_type: {grant}")
        except Refused as refusal:
            self.refused.append(str(refusal))
            return refusal.reply

    def to_account(self, form: Mapping[str, str], place: str) -> Reply:
        """For the assertion of a service account."""
        fields_are(form, {"grant_type", "assertion"})
        text = form["assertion"]
        try:
            account = self.accounts.get(str(decoded(text)[1].get("iss")))
            if account is None:
                raise refused(400, "invalid_grant", "Invalid grant: account not found")
            if place != account.token_uri:
                raise refused(400, "invalid_grant", f"the file names {account.token_uri}")
            audiences = [account.token_uri, *([TOKEN_URI] if self.official else [])]
            claims = account.asserted(text, audiences)
        except Wrong as wrong:
            words = {"signature": "Invalid JWT Signature.", "time": BAD_TIME}
            told = words.get(wrong.kind, "Bad Request")
            raise Refused(oauth_error(400, "invalid_grant", told), str(wrong)) from None
        scopes = tuple(claims["scope"].split(" "))
        if not set(scopes) <= SCOPES or len(set(scopes)) < len(scopes):
            told = "Invalid OAuth scope or ID token audience provided."
            raise refused(400, "invalid_scope", told)
        if claims.get("sub", account.email) not in {account.email, *account.delegated}:
            told = "Client is unauthorized to retrieve access tokens using this method"
            raise refused(401, "unauthorized_client", told)
        life = self.lives.get(account.email, self.life)
        token = self.ledger.issue("service_account", account.email, scopes, life.seconds)
        self.given.append(Granted(JWT_BEARER, account.email, place, scopes, claims))
        return granted(token, life)

    def to_user(self, form: Mapping[str, str], place: str) -> Reply:
        """For a refresh token."""
        needed = {"grant_type", "client_id", "client_secret", "refresh_token"}
        fields_are(form, needed, frozenset({"scope"}))
        if place != TOKEN_URI:
            raise refused(404, "invalid_request", f"no refresh token is taken at {place}")
        known = [user for user in self.users if user.client_id == form["client_id"]]
        if not known:
            raise refused(401, "invalid_client", "The OAuth client was not found.")
        mine = [user for user in known if user.client_secret == form["client_secret"]]
        if not mine:
            raise refused(401, "invalid_client", "The provided client secret is invalid.")
        user = next((one for one in mine if one.refresh_token == form["refresh_token"]), None)
        if user is None:
            raise refused(400, "invalid_grant", "Token has been expired or revoked.")
        scopes = tuple(form.get("scope", " ".join(user.scopes)).split(" "))
        if not set(scopes) <= set(user.scopes):
            raise refused(400, "invalid_scope", "Some requested scopes were invalid.")
        life = self.lives.get(user.client_id, self.life)
        token = self.ledger.issue("user", user.client_id, scopes, life.seconds)
        self.given.append(Granted("refresh_token", user.client_id, place, scopes))
        return granted(token, life, scope=" ".join(scopes))


def refused(status: int, error: str, text: str) -> Refused:
    """A refusal that is told in the same words."""
    return Refused(oauth_error(status, error, text), text)


def claimed(request: Request) -> str | None:
    """Whose a request claims to be: the issuer of its assertion, or the client of a user."""
    try:
        form = form_of(request, frozenset(name.decode("latin-1") for name, _ in request.headers))
        if "assertion" in form:
            return str(decoded(form["assertion"])[1].get("iss"))
        return form.get("client_id")
    except (Refused, Wrong):
        return None
