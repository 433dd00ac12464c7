"""What google-auth sends, in short: of each request what a server can tell.

Recorded from google-auth 2.62.2 under Python 3.11, with a server on the same machine in the place
of Google's; every account, client and token is invented. Of a signed assertion there are the
claims, with `life` in the place of both times; an access token is left out. The package is licensed
under the Apache License 2.0; nothing of its code is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEADER = {"typ": "JWT", "alg": "RS256", "kid": "KEY"}
"""Of every assertion, but for the number of the key."""


@dataclass(frozen=True)
class Sent:
    """One request."""

    method: str
    host: str
    target: str
    headers: str
    """The names of those beside what every request of the library `requests` carries."""
    kind: str | None = None
    """Its `content-type`."""
    authorization: str | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    """The same of one that is JSON."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """Of its assertion."""


REQUESTS = {
    "sa-jwt-bearer": Sent(
        method="POST",
        host="oauth2.googleapis.com",
        target="/token",
        headers="content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        form={
            "assertion": "JWT",
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        },
        claims={
            "iss": "sa@proj.iam.gserviceaccount.com",
            "aud": "https://oauth2.googleapis.com/token",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "life": 3600,
        },
    ),
    "sa-jwt-bearer-two-scopes-subject": Sent(
        method="POST",
        host="oauth2.googleapis.com",
        target="/token",
        headers="content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        form={
            "assertion": "JWT",
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        },
        claims={
            "iss": "sa@proj.iam.gserviceaccount.com",
            "aud": "https://oauth2.googleapis.com/token",
            "scope": (
                "https://www.googleapis.com/auth/cloud-platform https://www.g"
                "oogleapis.com/auth/userinfo.email"
            ),
            "sub": "user@example.com",
            "life": 3600,
        },
    ),
    "sa-legacy-token-uri": Sent(
        method="POST",
        host="www.googleapis.com",
        target="/oauth2/v4/token",
        headers="content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        form={
            "assertion": "JWT",
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        },
        claims={
            "iss": "sa@proj.iam.gserviceaccount.com",
            "aud": "https://oauth2.googleapis.com/token",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "life": 3600,
        },
    ),
    "authorized-user": Sent(
        method="POST",
        host="oauth2.googleapis.com",
        target="/token",
        headers="content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        form={
            "grant_type": "refresh_token",
            "client_id": "cid",
            "client_secret": "cs",
            "refresh_token": "1//rt",
        },
    ),
    "impersonated-from-sa/1": Sent(
        method="POST",
        host="oauth2.googleapis.com",
        target="/token",
        headers="content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        form={
            "assertion": "JWT",
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        },
        claims={
            "iss": "sa@proj.iam.gserviceaccount.com",
            "aud": "https://oauth2.googleapis.com/token",
            "scope": "https://www.googleapis.com/auth/iam",
            "life": 3600,
        },
    ),
    "impersonated-from-sa/2": Sent(
        method="POST",
        host="iamcredentials.googleapis.com",
        target=(
            "/v1/projects/-/serviceAccounts/target@proj.iam.gserviceaccount.com:generateAccessToken"
        ),
        headers="authorization content-length content-type x-goog-api-client",
        kind="application/json",
        authorization="Bearer",
        body={
            "delegates": ["mid@proj.iam.gserviceaccount.com"],
            "scope": ["https://www.googleapis.com/auth/cloud-platform"],
            "lifetime": "1200s",
        },
    ),
    "wif-file": Sent(
        method="POST",
        host="sts.googleapis.com",
        target="/v1/token",
        headers="content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        form={
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": (
                "//iam.googleapis.com/projects/123/locations/global/workloadI"
                "dentityPools/pool/providers/prov"
            ),
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": ("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0.c2ln"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        },
    ),
    "wif-url/1": Sent(
        method="GET",
        host="127.0.0.1:PORT",
        target="/subject",
        headers="x-k",
    ),
    "wif-client-auth": Sent(
        method="POST",
        host="sts.googleapis.com",
        target="/v1/token",
        headers="authorization content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        authorization="Basic Y2lkOmNzZWM=",
        form={
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": (
                "//iam.googleapis.com/projects/123/locations/global/workloadI"
                "dentityPools/pool/providers/prov"
            ),
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": ("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0.c2ln"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        },
    ),
    "wif-workforce": Sent(
        method="POST",
        host="sts.googleapis.com",
        target="/v1/token",
        headers="content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        form={
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": ("//iam.googleapis.com/locations/global/workforcePools/p/providers/q"),
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": ("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0.c2ln"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "options": "%7B%22userProject%22%3A%20%22proj%22%7D",
        },
    ),
    "wif-file-impersonation/1": Sent(
        method="POST",
        host="sts.googleapis.com",
        target="/v1/token",
        headers="content-length content-type x-goog-api-client",
        kind="application/x-www-form-urlencoded",
        form={
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": (
                "//iam.googleapis.com/projects/123/locations/global/workloadI"
                "dentityPools/pool/providers/prov"
            ),
            "scope": "https://www.googleapis.com/auth/iam",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": ("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0.c2ln"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        },
    ),
    "wif-file-impersonation/2": Sent(
        method="POST",
        host="iamcredentials.googleapis.com",
        target=(
            "/v1/projects/-/serviceAccounts/sa@proj.iam.gserviceaccount.com:generateAccessToken"
        ),
        headers="authorization content-length content-type x-goog-api-client",
        kind="application/json",
        authorization="Bearer",
        body={
            "delegates": None,
            "scope": ["https://www.googleapis.com/auth/cloud-platform"],
            "lifetime": "3600s",
        },
    ),
    "adc-metadata/1": Sent(
        method="GET",
        host="169.254.169.254",
        target="/",
        headers="metadata-flavor x-goog-api-client",
    ),
    "adc-metadata/2": Sent(
        method="GET",
        host="metadata.google.internal",
        target="/computeMetadata/v1/project/project-id",
        headers="metadata-flavor",
    ),
    "adc-metadata/3": Sent(
        method="GET",
        host="metadata.google.internal",
        target=("/computeMetadata/v1/instance/service-accounts/default/?recursive=true"),
        headers="metadata-flavor",
    ),
    "adc-metadata/4": Sent(
        method="GET",
        host="metadata.google.internal",
        target=(
            "/computeMetadata/v1/instance/service-accounts/default/token?"
            "scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platf"
            "orm"
        ),
        headers="metadata-flavor x-goog-api-client",
    ),
    "adc-metadata/5": Sent(
        method="GET",
        host="metadata.google.internal",
        target="/computeMetadata/v1/universe/universe-domain",
        headers="metadata-flavor",
    ),
    "gce-token-scopes/2": Sent(
        method="GET",
        host="metadata.google.internal",
        target=(
            "/computeMetadata/v1/instance/service-accounts/default/token?"
            "scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platf"
            "orm%2Chttps%3A%2F%2Fwww.googleapis.com%2Fauth%2Fuserinfo.ema"
            "il"
        ),
        headers="metadata-flavor x-goog-api-client",
    ),
}

RUNS = {
    "sa-jwt-bearer": ["sa-jwt-bearer"],
    "sa-jwt-bearer-two-scopes-subject": ["sa-jwt-bearer-two-scopes-subject"],
    "sa-legacy-token-uri": ["sa-legacy-token-uri"],
    "authorized-user": ["authorized-user"],
    "impersonated-from-sa": ["impersonated-from-sa/1", "impersonated-from-sa/2"],
    "wif-file": ["wif-file"],
    "wif-file-json": ["wif-file"],
    "wif-url": ["wif-url/1", "wif-file"],
    "wif-client-auth": ["wif-client-auth"],
    "wif-workforce": ["wif-workforce"],
    "wif-file-impersonation": ["wif-file-impersonation/1", "wif-file-impersonation/2"],
    "adc-external-account-file": ["wif-file-impersonation/1", "wif-file-impersonation/2"],
    "adc-metadata": [
        "adc-metadata/1",
        "adc-metadata/2",
        "adc-metadata/3",
        "adc-metadata/4",
        "adc-metadata/5",
    ],
    "gce-token": ["adc-metadata/3", "adc-metadata/4"],
    "gce-token-scopes": ["adc-metadata/3", "gce-token-scopes/2"],
    "sa-error-429": ["sa-jwt-bearer", "sa-jwt-bearer", "sa-jwt-bearer"],
    "sa-error-503": ["sa-jwt-bearer", "sa-jwt-bearer", "sa-jwt-bearer"],
    "sa-error-internal-failure": ["sa-jwt-bearer", "sa-jwt-bearer", "sa-jwt-bearer"],
    "sa-error-invalid-grant-signature": ["sa-jwt-bearer"],
    "sa-no-expires-in": ["sa-jwt-bearer"],
    "sts-error-audience": ["wif-file"],
}

VERTEX = {
    "gemini": (
        "POST",
        (
            "/v1/projects/p/locations/us-central1/publishers/google/model"
            "s/gemini-2.0-flash:generateContent"
        ),
    ),
    "claude": (
        "POST",
        (
            "/v1/projects/p/locations/us-central1/publishers/anthropic/mo"
            "dels/claude-3-5-sonnet-v2@20241022:rawPredict"
        ),
    ),
}
"""What google-genai 3.4.0 and anthropic 2.12.0 ask of Vertex, all in one location."""
