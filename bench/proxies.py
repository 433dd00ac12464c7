"""The two Envoys: the one that is measured, and the one that plays the provider."""

from __future__ import annotations

from collections.abc import Sequence

from bootstrap import Config, bootstrap, cluster, extension, listener
from cases import Case, native_secret

ECHO = "x-bench-echo"
"""A request with this header is answered with the credential that the provider saw."""

QUIET = {"stats_flush_interval": "299s"}
"""The main thread shall not work during a round."""


def provider() -> Config:
    """Takes the whole request and answers with two bytes."""
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
    return bootstrap([listener([echo, short], filters=[whole])], **QUIET)


def measured(cases: Sequence[Case], port: int, minimal: str) -> Config:
    """All cases in one process, so that the layout of its memory is the same for each.

    Each case has a listener of its own; `port` is the provider's.
    """
    clusters: list[Config] = []
    for case in cases:
        filters = case.filters(minimal)
        clusters += [named_by_dns(cluster(name, [port], filters=filters)) for name in case.clusters]
    config = bootstrap([listener([route(case)], name=case.name) for case in cases], clusters)
    config["static_resources"]["secrets"] = [native_secret()]
    return config | QUIET


def named_by_dns(config: Config) -> Config:
    """The cluster with a host that DNS found, as those of real providers are: a filter may have to
    ask more about such a host."""
    # Nobody shall look it up again during a round.
    dns = {"dns_refresh_rate": "3600s", "dns_lookup_family": "V4_ONLY"}
    kind = extension("envoy.clusters.dns", "clusters.dns.v3.DnsCluster", **dns)
    return {key: value for key, value in config.items() if key != "type"} | {"cluster_type": kind}


def route(case: Case) -> Config:
    """To the one cluster, or by chance to one of many."""
    if len(case.clusters) == 1:
        return {"match": {"prefix": "/"}, "route": {"cluster": case.clusters[0]}}
    weighted = {"clusters": [{"name": name, "weight": 1} for name in case.clusters]}
    return {"match": {"prefix": "/"}, "route": {"weighted_clusters": weighted}}
