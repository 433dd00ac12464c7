"""The rig itself: what the upstream records is what Envoy sent, without the filter in between."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import types

import raw
from bootstrap import Endpoint, aggregate, bootstrap, cluster, listener, retry, route, upstream_tls
from envoy import Envoy
from launch import EnvoyFailed, validate
from replies import TEXT
from upstream import Authority, Upstream
from wire import Reply, Request, opened

Start = Callable[..., Envoy]

ODD = [
    (b"host", b"api.test"),
    (b"x-twice", b"one"),
    (b"x-twice", b"two"),
    (b"x-bytes", b"caf\xe9 \xff\xfe"),
]
TARGET = b"/v1/models?key=a%2Fb&&q=%zz&key="


def simple(upstream: Upstream, *, http2: bool = False) -> dict:
    """One listener, one route, one cluster."""
    return bootstrap([listener([route("/", "up")])], [cluster("up", [upstream.port], http2=http2)])


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_the_upstream_records_headers_query_and_body_byte_for_byte(
    upstream: Upstream, start_envoy: Start, http2: bool
) -> None:
    envoy = start_envoy(simple(upstream, http2=http2))
    answer = raw.request(envoy.port(), b"POST", TARGET, ODD, b"\x00body\xff")
    assert answer.status == 200
    seen = upstream.only()
    assert seen.http_version == ("2" if http2 else "1.1")
    assert (seen.method, seen.target, seen.authority) == ("POST", TARGET, b"api.test")
    assert seen.values("x-twice") == [b"one", b"two"]
    assert seen.values("x-bytes") == [b"caf\xe9 \xff\xfe"]
    assert seen.body == b"\x00body\xff"
    assert (seen.path, seen.query) == ("/v1/models", b"key=a%2Fb&&q=%zz&key=")


def test_trailers_of_http2_reach_the_upstream(upstream: Upstream, start_envoy: Start) -> None:
    envoy = start_envoy(simple(upstream, http2=True))
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"api.test"),
        (b":path", b"/"),
    ]
    answer = raw.request_h2(envoy.port(), headers, [b"one", b"two"], [(b"x-sum", b"1")])
    assert answer.status == 200
    seen = upstream.only()
    assert (seen.body, seen.trailers) == (b"onetwo", [(b"x-sum", b"1")])


def test_a_stream_arrives_piece_by_piece(
    upstream: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    gate = threading.Event()

    async def two_pieces() -> AsyncIterator[bytes]:
        yield b"data: first\n\n"
        await opened(gate)
        yield b"data: second\n\n"

    upstream.reply_with(headers={"content-type": "text/event-stream"}, body=two_pieces())
    envoy = start_envoy(simple(upstream))
    with client.stream("GET", envoy.url("/")) as response:
        parts = response.iter_raw()
        assert next(parts) == b"data: first\n\n"
        gate.set()
        assert b"".join(parts) == b"data: second\n\n"


def test_the_clients_of_the_providers_understand_the_default_answers(
    upstream: Upstream, start_envoy: Start
) -> None:
    url = start_envoy(simple(upstream)).url()
    text = "".join(TEXT)
    say = [{"role": "user", "content": "hi"}]

    gpt = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
    chat = gpt.chat.completions.create(model="m", messages=say)
    assert chat.choices[0].message.content == text
    chunks = gpt.chat.completions.create(model="m", messages=say, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text

    claude = anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0)
    message = claude.messages.create(model="m", max_tokens=9, messages=say)
    assert message.content[0].text == text
    with claude.messages.stream(model="m", max_tokens=9, messages=say) as stream:
        assert "".join(stream.text_stream) == text

    options = types.HttpOptions(base_url=url, api_version="v1beta")
    gemini = genai.Client(api_key="wrong", http_options=options)
    assert gemini.models.generate_content(model="m", contents="hi").text == text
    parts = gemini.models.generate_content_stream(model="m", contents="hi")
    assert "".join(part.text or "" for part in parts) == text

    assert not upstream.errors


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_a_retry_goes_to_the_endpoints_of_the_next_priority(
    upstream: Upstream, second: Upstream, start_envoy: Start, client: httpx.Client, http2: bool
) -> None:
    upstream.reply_with(503)
    endpoints = [Endpoint(upstream.port), Endpoint(second.port, priority=1)]
    config = bootstrap(
        [listener([route("/", "up", retry=retry(next_priority=True))])],
        [cluster("up", endpoints, http2=http2)],
    )
    response = client.post(start_envoy(config).url("/a"), content=b"body")
    assert response.status_code == 200
    assert upstream.only().body == second.only().body == b"body"


def test_a_retry_of_an_aggregate_goes_to_its_second_cluster(
    upstream: Upstream, second: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    upstream.reply_with(abort=True)
    policy = retry(on="5xx,reset", next_priority=True)
    config = bootstrap(
        [listener([route("/", "all", retry=policy)])],
        [
            aggregate("all", ["a", "b"]),
            cluster("a", [upstream.port]),
            cluster("b", [second.port]),
        ],
    )
    assert client.get(start_envoy(config).url("/")).status_code == 200
    assert len(upstream.requests) == len(second.requests) == 1


def test_mirrors_and_internal_redirects_reach_the_other_upstream(
    upstream: Upstream, second: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    upstream.reply_with(302, {"location": "http://api.test/other"}, path="/redirect")
    routes = [
        route("/other", "b"),
        route("/redirect", "a", internal_redirect=True),
        route("/mirror", "a", mirror="b"),
    ]
    config = bootstrap(
        [listener(routes)], [cluster("a", [upstream.port]), cluster("b", [second.port])]
    )
    envoy = start_envoy(config)
    assert client.get(envoy.url("/redirect")).status_code == 200
    assert second.only().path == "/other"
    assert client.get(envoy.url("/mirror")).status_code == 200
    assert second.wait_for(2)[1].path == "/mirror"


def test_scripted_answers_apply_by_path_and_so_many_times(
    upstream: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    def echo(request: Request) -> Reply:
        return Reply(201, [(b"x-from", b"handler")], request.body)

    upstream.reply_with(401, body={"error": "no"}, path="/a", times=1)
    upstream.on(lambda request: request.method == "PUT", echo)
    envoy = start_envoy(simple(upstream))
    assert [client.get(envoy.url("/a")).status_code for _ in range(2)] == [401, 200]
    put = client.put(envoy.url("/a"), content=b"x")
    assert (put.status_code, put.headers["x-from"], put.content) == (201, "handler", b"x")


def test_clusters_from_a_file_are_replaced_or_rejected(
    upstream: Upstream, second: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    config = bootstrap([listener([route("/", "up")])])
    envoy = start_envoy(config, cds=[cluster("up", [upstream.port])])
    client.get(envoy.url("/first"))
    assert envoy.update_cds([cluster("up", [second.port])])
    client.get(envoy.url("/second"))
    assert not envoy.update_cds([cluster("up", [upstream.port], connect_timeout="-1s")])
    client.get(envoy.url("/third"))
    assert [request.path for request in upstream.requests] == ["/first"]
    assert [request.path for request in second.requests] == ["/second", "/third"]


def test_an_upstream_can_speak_tls(
    authority: Authority, start_envoy: Start, client: httpx.Client
) -> None:
    with Upstream(tls=authority.server_context(["api.test"])) as upstream:
        tls = upstream_tls(authority.pem, "api.test")
        clusters = [cluster("up", [upstream.port], tls=tls)]
        envoy = start_envoy(bootstrap([listener([route("/", "up")])], clusters))
        assert client.get(envoy.url("/")).status_code == 200
        assert upstream.server_names == ["api.test"]


def test_a_websocket_passes_as_an_echo(upstream: Upstream, start_envoy: Start) -> None:
    upstream.reply_with(101, {"upgrade": "websocket", "connection": "upgrade"})
    sockets = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
    clusters = [cluster("up", [upstream.port])]
    envoy = start_envoy(bootstrap([listener([route("/", "up")], hcm=sockets)], clusters))
    headers = [(b"host", b"a"), (b"upgrade", b"websocket"), (b"connection", b"upgrade")]
    assert raw.request(envoy.port(), headers=headers).status == 101
    assert upstream.only().protocol == "websocket"


def test_statistics_and_access_log_can_be_read(
    upstream: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    front = listener([route("/", "up")], access_log_format="%REQ(:PATH)% %RESPONSE_CODE%")
    envoy = start_envoy(bootstrap([front], [cluster("up", [upstream.port])]))
    client.get(envoy.url("/a"))
    assert envoy.wait_for_access_log() == ["/a 200"]
    assert envoy.wait_for_stat("cluster.up.upstream_rq_total") == 1
    assert envoy.stats("http.main.downstream_rq_2xx") == {"http.main.downstream_rq_2xx": 1}
    assert "envoy_cluster_upstream_rq_total" in envoy.prometheus()
    assert json.dumps(envoy.config_dump()).count('"up"')


def test_a_bad_configuration_is_reported_with_the_log(upstream: Upstream) -> None:
    good, bad = simple(upstream), simple(upstream)
    bad["static_resources"]["clusters"][0]["no_such_field"] = 1
    assert validate(good)[0] == 0
    status, output = validate(bad)
    assert status == 1
    assert "no_such_field" in output
    with pytest.raises(EnvoyFailed, match="no_such_field"), Envoy(bad):
        pass


def test_a_crash_of_envoy_fails_the_test(upstream: Upstream) -> None:
    envoy = Envoy(simple(upstream))
    envoy.start()
    assert envoy.process
    envoy.process.kill()
    envoy.process.wait()
    with pytest.raises(EnvoyFailed, match="status -9"):
        envoy.__exit__(None)
