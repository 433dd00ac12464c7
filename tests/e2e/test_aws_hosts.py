"""Which host is signed, for which region, and that the request is addressed to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import raw
import sdk
from aws import STATIC, bedrock, verify
from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from envoy import Envoy
from gateway import Gateway, assert_no_panic
from manifests import config
from providers import by_host
from upstream import Upstream
from wire import Header, Request

HOME = "eu-west-1"
"""The region of the policies that are not named after theirs."""
AT_HOME = "bedrock-runtime.eu-west-1.amazonaws.com"
TARGET = b"/model/anthropic.claude-v2%3A0/converse"

BEDROCK = {
    "bedrock-runtime.us-east-1.amazonaws.com": "us-east-1",
    "bedrock-runtime-fips.us-east-2.amazonaws.com": "us-east-2",
    "bedrock-runtime.ap-southeast-1.api.aws": "ap-southeast-1",
    "bedrock-runtime-fips.us-west-2.api.aws": "us-west-2",
    "bedrock-runtime.us-gov-west-1.amazonaws.com": "us-gov-west-1",
    "bedrock-runtime-fips.us-gov-east-1.amazonaws.com": "us-gov-east-1",
    "bedrock-runtime-fips.us-gov-west-1.api.aws": "us-gov-west-1",
    "bedrock-runtime.cn-north-1.amazonaws.com.cn": "cn-north-1",
    "bedrock-runtime.cn-northwest-1.api.amazonwebservices.com.cn": "cn-northwest-1",
    "bedrock-runtime.eusc-de-east-1.amazonaws.eu": "eusc-de-east-1",
    "bedrock-runtime.eusc-de-east-1.api.amazonwebservices.eu": "eusc-de-east-1",
    "bedrock-runtime.us-iso-east-1.c2s.ic.gov": "us-iso-east-1",
    "bedrock-runtime.us-isob-east-1.sc2s.sgov.gov": "us-isob-east-1",
    "bedrock-runtime.eu-isoe-west-1.cloud.adc-e.uk": "eu-isoe-west-1",
    "bedrock-runtime.us-isof-south-1.csp.hci.ic.gov": "us-isof-south-1",
    "vpce-0a1b2c3d4e5f-x9y8.bedrock-runtime.us-east-1.vpce.amazonaws.com": "us-east-1",
    "vpce-0a1b2c3d4e5f-x9y8-us-east-1a.bedrock-runtime.us-east-1.vpce.amazonaws.com": "us-east-1",
    "vpce-0a1b-x9y8.bedrock-runtime-fips.us-gov-west-1.vpce.amazonaws.com": "us-gov-west-1",
    "vpce-0a1b-x9y8.bedrock-runtime.cn-north-1.vpce.amazonaws.com.cn": "cn-north-1",
}
"""Hosts of Bedrock and their regions."""

OTHERS = [
    "gateway.test",
    "127.0.0.1:8080",
    "[::1]:8080",
    "localhost",
    "bedrock-runtime.us-east-1.amazonaws.com.evil.example",
    "bedrock-runtime.us-east-1.amazonaws.com-shadow",
    "bedrock-runtime.us-east-1.amazonaws.example",
    "bedrock-runtime.us-east-1.amazonaws.comm",
    "bedrock-runtime.us-east-1.api.aws.example",
    "xbedrock-runtime.us-east-1.amazonaws.com",
    "x.bedrock-runtime.us-east-1.amazonaws.com",
    "evil.example.bedrock-runtime.us-east-1.amazonaws.com",
    "bedrock-runtime.us-east-1.evil.amazonaws.com",
    "bedrock-runtime.us-east-1.xamazonaws.com",
    "bedrock-runtime..amazonaws.com",
    "bedrock-runtime.amazonaws.com",
    "bedrock-runtimeus-east-1.amazonaws.com",
    "bedrock-runtime-us-east-1.amazonaws.com",
    "bedrock-runtime-fipsx.us-east-1.amazonaws.com",
    "bedrock.us-east-1.amazonaws.com",
    "bedrock-agent-runtime.us-east-1.amazonaws.com",
    "sts.us-east-1.amazonaws.com",
    "us-east-1.amazonaws.com",
]
"""Hosts that are none of Bedrock's, however much some of them look like one."""

REGIONS = {
    "us-east-1": "bedrock-runtime.us-east-1.amazonaws.com",
    "ap-southeast-7": "bedrock-runtime.ap-southeast-7.amazonaws.com",
    "us-gov-west-1": "bedrock-runtime.us-gov-west-1.amazonaws.com",
    "cn-north-1": "bedrock-runtime.cn-north-1.amazonaws.com.cn",
    "cn-northwest-1": "bedrock-runtime.cn-northwest-1.amazonaws.com.cn",
    "eusc-de-east-1": "bedrock-runtime.eusc-de-east-1.amazonaws.eu",
    "us-iso-west-1": "bedrock-runtime.us-iso-west-1.c2s.ic.gov",
    "us-isob-east-1": "bedrock-runtime.us-isob-east-1.sc2s.sgov.gov",
    "eu-isoe-west-1": "bedrock-runtime.eu-isoe-west-1.cloud.adc-e.uk",
    "us-isof-south-1": "bedrock-runtime.us-isof-south-1.csp.hci.ic.gov",
}
"""Regions of policies, and the host of each."""

VPCE = "vpce-1.bedrock-runtime.ca-central-1.vpce.amazonaws.com"
GIVEN = {
    "vpc-endpoint": (VPCE, VPCE, "ca-central-1"),
    "fips": (
        "bedrock-runtime-fips.us-east-2.amazonaws.com",
        "bedrock-runtime-fips.us-east-2.amazonaws.com",
        "us-east-2",
    ),
    "proxy": ("bedrock.proxy.example", "bedrock.proxy.example", HOME),
    "proxy-8443": ("bedrock.proxy.example:8443", "bedrock.proxy.example:8443", HOME),
    "proxy-443": ("bedrock.proxy.example:443", "bedrock.proxy.example", HOME),
    "vpc-endpoint-443": (f"{VPCE}:443", VPCE, "ca-central-1"),
}
"""Backends with a host in `backend.hosts`: as given, as signed, and the region."""

REWRITTEN = "bedrock-runtime.sa-east-1.amazonaws.com"


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def shared(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A backend for each region and each given host; the header `x-to` names the backend, and
    without it the request goes to one with the region `HOME`."""
    policies = [bedrock(f"in-{region}", region=region) for region in REGIONS]
    policies += [bedrock(name, region=HOME) for name in ["home", "named", *GIVEN]]
    hosts = {f"default/{name}": given for name, (given, _, _) in GIVEN.items()}
    plugin = config(*policies, backend={"hosts": hosts})
    names = [policy["metadata"]["name"] for policy, _ in policies]
    with Upstream() as upstream:
        clusters = [
            cluster(name, [upstream.port], filters=[wasm_filter(plugin)], http2=request.param)
            for name in names
        ]
        chosen = [
            route("/", name, match={"headers": [exactly("x-to", name)]}, **rewriting(name))
            for name in names
        ]
        front = listener([*chosen, by_host("named", "named"), route("/", "home")])
        with Envoy(bootstrap([front], clusters)) as envoy:
            yield Gateway(envoy, upstream)
            assert_no_panic(envoy)


def exactly(name: str, value: str) -> Config:
    """A header that chooses a route."""
    return {"name": name, "string_match": {"exact": value}}


def rewriting(name: str) -> Config:
    """What the route does to the host."""
    return {"host_rewrite_literal": REWRITTEN} if name == "named" else {}


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """The same with nothing recorded."""
    shared.upstream.reset()
    return shared


def ask(
    gateway: Gateway, authority: str, to: str = "home", *, http2: bool = False, body: bytes = b"{}"
) -> Request:
    """What arrives of a request for a host."""
    fields: list[Header] = [(b"x-to", to.encode()), (b"content-type", b"application/json")]
    name, port = authority.encode(), gateway.envoy.port()
    if http2:
        pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", TARGET)]
        pseudo.append((b":authority", name))
        answer = raw.request_h2(port, [*pseudo, *fields], [body])
    else:
        answer = raw.request(port, b"POST", TARGET, [(b"host", name), *fields], body)
    assert answer.status == 200
    return gateway.upstream.only()


@pytest.mark.parametrize("http2", [False, True], ids=["client-1", "client-2"])
@pytest.mark.parametrize("name", BEDROCK)
def test_a_host_of_bedrock_is_signed_for_its_own_region(
    gateway: Gateway, name: str, http2: bool
) -> None:
    verify(ask(gateway, name, http2=http2), region=BEDROCK[name], host=name)


@pytest.mark.parametrize("name", BEDROCK)
def test_the_default_port_of_a_host_of_bedrock_is_left_out(gateway: Gateway, name: str) -> None:
    verify(ask(gateway, f"{name}:443"), region=BEDROCK[name], host=name)


def test_another_port_of_a_host_of_bedrock_is_kept(gateway: Gateway) -> None:
    name = "bedrock-runtime.us-east-1.amazonaws.com:8443"
    verify(ask(gateway, name), region="us-east-1", host=name)


@pytest.mark.parametrize("http2", [False, True], ids=["client-1", "client-2"])
@pytest.mark.parametrize("name", OTHERS)
def test_any_other_host_becomes_that_of_the_policys_region(
    gateway: Gateway, name: str, http2: bool
) -> None:
    verify(ask(gateway, name, http2=http2), region=HOME, host=AT_HOME)


@pytest.mark.parametrize("region", REGIONS)
def test_the_host_follows_from_the_region_of_the_policy(gateway: Gateway, region: str) -> None:
    verify(ask(gateway, "gateway.test", f"in-{region}"), region=region, host=REGIONS[region])


def test_boto3_would_call_the_same_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk.isolate(monkeypatch)
    called = {
        region: sdk.boto(None, STATIC, region).meta.endpoint_url.removeprefix("https://")
        for region in REGIONS
    }
    assert called == REGIONS


@pytest.mark.parametrize("authority", ["gateway.test", *list(BEDROCK)[:2]])
@pytest.mark.parametrize("backend", GIVEN)
def test_a_host_of_the_configuration_wins(gateway: Gateway, backend: str, authority: str) -> None:
    _, signed, region = GIVEN[backend]
    verify(ask(gateway, authority, backend), region=region, host=signed)


def test_a_host_that_the_route_has_written_is_signed(gateway: Gateway) -> None:
    seen = ask(gateway, "gateway.test", "named")
    verify(seen, region="sa-east-1", host=REWRITTEN)
