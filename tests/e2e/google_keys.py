"""Credential files of Google, with keys made at run time, and the JWTs that such keys sign."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

TOKEN_URI = "https://oauth2.googleapis.com/token"
DEFAULT_UNIVERSE = "googleapis.com"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"
IAM = "https://www.googleapis.com/auth/iam"
SCOPES = {CLOUD, IAM, "https://www.googleapis.com/auth/userinfo.email"}
"""Those that exist."""

SKEW = 300
"""Seconds by which Google lets a clock be wrong."""
LONGEST = 3600
"""Seconds that an assertion may live."""

PART = re.compile(r"[A-Za-z0-9_-]+")
"""A part of a JWT: base64url without padding."""

File = dict[str, Any]


class Wrong(Exception):
    """A JWT is not as it should be; `kind` is `signature`, `time` or `form`."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class ServiceAccount:
    """An account with one key."""

    def __init__(
        self,
        email: str = "sa@proj.iam.gserviceaccount.com",
        *,
        token_uri: str = TOKEN_URI,
        universe: str = DEFAULT_UNIVERSE,
        delegated: Sequence[str] = (),
        bits: int = 2048,
    ) -> None:
        self.email = email
        self.token_uri = token_uri
        self.universe = universe
        self.delegated = set(delegated)
        """The users for whom it may ask (domain-wide delegation)."""
        self.key_id = secrets.token_hex(20)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    def pem(self, form: str = "pkcs8") -> str:
        """The private key: `pkcs8`, `pkcs1`, `crlf`, `bare` (without a last newline), `locked`
        (with a passphrase) or `ec` (of a kind that signs no RS256)."""
        if form == "ec":
            curve = ec.generate_private_key(ec.SECP256R1())
            return text_of(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        kind = PrivateFormat.TraditionalOpenSSL if form == "pkcs1" else PrivateFormat.PKCS8
        lock = BestAvailableEncryption(b"open sesame") if form == "locked" else NoEncryption()
        text = text_of(self._key.private_bytes(Encoding.PEM, kind, lock))
        if form == "crlf":
            return text.replace("\n", "\r\n")
        return text.rstrip("\n") if form == "bare" else text

    def file(self, form: str = "pkcs8", **other: Any) -> File:
        """What the console of Google hands out, other fields put in; None takes one out."""
        fields = {
            "type": "service_account",
            "project_id": "proj",
            "private_key_id": self.key_id,
            "private_key": self.pem(form),
            "client_email": self.email,
            "client_id": "123456789012345678901",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": self.token_uri,
            "universe_domain": self.universe,
        }
        return {name: value for name, value in {**fields, **other}.items() if value is not None}

    def signed(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A JWT with these claims, signed with its key."""
        headers = {"kid": self.key_id, **header}
        return jwt.encode(dict(claims), self._key, algorithm="RS256", headers=headers)

    def assertion(self, **other: Any) -> str:
        """One that Google takes, other claims put in; None takes one out."""
        now = int(time.time())
        times = {"iat": now, "exp": now + LONGEST}
        claims = {"iss": self.email, "aud": self.token_uri, "scope": CLOUD, **times, **other}
        return self.signed({name: value for name, value in claims.items() if value is not None})

    # Judging.

    def asserted(self, text: str, audiences: Sequence[str]) -> dict[str, Any]:
        """The claims of an assertion for the token endpoint."""
        claims = self.verified(text)
        expect(claims, {"iss", "aud", "scope", "iat", "exp"}, {"sub"})
        if claims["aud"] not in audiences:
            raise Wrong("form", f"the audience is {claims['aud']!r}")
        if claims["iss"] != self.email:
            raise Wrong("form", f"the issuer is {claims['iss']!r}")
        in_time(claims)
        return claims

    def self_signed(self, text: str) -> dict[str, Any]:
        """The claims of a JWT that stands for an access token by itself."""
        claims = self.verified(text)
        expect(claims, {"iss", "sub", "scope", "iat", "exp"}, set())
        if (claims["iss"], claims["sub"]) != (self.email, self.email):
            raise Wrong("form", f"it is of {claims['iss']!r} for {claims['sub']!r}")
        in_time(claims)
        return claims

    def verified(self, text: str) -> dict[str, Any]:
        """The claims, if the header is as it should be and the signature is of its key."""
        header, claims = decoded(text)
        if header != {"typ": "JWT", "alg": "RS256", "kid": self.key_id}:
            raise Wrong("signature", f"the header is {header}")
        options = dict.fromkeys(("verify_exp", "verify_iat", "verify_aud", "verify_sub"), False)
        try:
            jwt.decode(text, self._key.public_key(), algorithms=["RS256"], options=options)
        except jwt.PyJWTError as error:
            raise Wrong("signature", str(error)) from None
        return claims


def text_of(pem: bytes) -> str:
    """A key as text."""
    return pem.decode("ascii")


def decoded(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT whose encoding is exact; nothing is verified."""
    parts = text.split(".")
    if len(parts) != 3 or not all(PART.fullmatch(part) for part in parts):
        raise Wrong("form", "not three parts of base64url without padding")
    try:
        header, claims = (json.loads(unpadded(part), object_pairs_hook=once) for part in parts[:2])
        unpadded(parts[2])
    except (ValueError, binascii.Error):
        raise Wrong("form", "a part does not decode") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Wrong("form", "a part is no object")
    return header, claims


def unpadded(part: str) -> bytes:
    """A part of a JWT, decoded; whoever encodes it gets the same text."""
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise ValueError(part)
    return raw


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON none of whose names occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def expect(claims: Mapping[str, Any], needed: set[str], allowed: set[str]) -> None:
    """These claims are there, and no others; times are whole numbers, the rest are texts."""
    names = set(claims)
    if not needed <= names or names - needed - allowed:
        raise Wrong("form", f"the claims are {sorted(names)}")
    for name, value in claims.items():
        kind = int if name in ("iat", "exp") else str
        if type(value) is not kind or value == "":
            raise Wrong("form", f"the claim {name} is {value!r}")


def in_time(claims: Mapping[str, Any]) -> None:
    """Issued about now, and living an hour at most."""
    now = time.time()
    begun, end = claims["iat"], claims["exp"]
    if abs(now - begun) > SKEW or end <= now or not 0 < end - begun <= LONGEST:
        raise Wrong("time", f"issued {begun - now:.0f} s from now, for {end - begun} s")
