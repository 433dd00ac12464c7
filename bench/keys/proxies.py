"""The two Envoys: the one that is measured, and the one that plays the provider."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bootstrap import Config, bootstrap, cluster, extension, listener
from keys.cases import KEY, LOGIN, TENANT, Case, native_secret
from section import QUIET, named_by_dns

ECHO = "x-bench-echo"
"""A request with this header is answered with the credential that the provider saw."""

LIFE = 86400
"""Of a token, in seconds: none is renewed during a run."""


def provider() -> Config:
    """Takes the whole request and answers with two bytes; gives tokens too."""
    token = {"token_type": "Bearer", "expires_in": LIFE, "access_token": KEY}
    login: Config = {
        "match": {"path": f"/{TENANT}/oauth2/v2.0/token"},
        "direct_response": {"status": 200, "body": {"inline_string": json.dumps(token)}},
    }
    seen = {"authorization": "%REQ(authorization)%"}
    echo: Config = {
        "match": {"prefix": "/", "headers": [{"name": ECHO, "present_match": True}]},
        "direct_response": {"status": 200, "body_format": {"json_format": seen}},
    }
    short: Config = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "{}"}},
    }
    # Without it the answer comes before the body, and the connection is given up.
    message = "filters.http.buffer.v3.Buffer"
    whole = extension("envoy.filters.http.buffer", message, max_request_bytes=1 << 20)
    return bootstrap([listener([login, echo, short], filters=[whole])], **QUIET)


def measured(cases: Sequence[Case], port: int, minimal: str) -> Config:
    """All cases in one process, so that the layout of its memory is the same for each.

    Each case has a listener of its own; `port` is the provider's.
    """
    clusters: list[Config] = [cluster(LOGIN, [port])]
    for case in cases:
        filters = case.filters(minimal)
        clusters += [named_by_dns(cluster(name, [port], filters=filters)) for name in case.clusters]
    config = bootstrap([listener([route(case)], name=case.name) for case in cases], clusters)
    config["static_resources"]["secrets"] = [native_secret()]
    return config | QUIET


def route(case: Case) -> Config:
    """To the one cluster, or by chance to one of many."""
    if len(case.clusters) == 1:
        return {"match": {"prefix": "/"}, "route": {"cluster": case.clusters[0]}}
    weighted = {"clusters": [{"name": name, "weight": 1} for name in case.clusters]}
    return {"match": {"prefix": "/"}, "route": {"weighted_clusters": weighted}}
