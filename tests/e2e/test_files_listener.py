"""The egress listener and the mounted Secrets of the tests, without the filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import raw
from bootstrap import bootstrap, listener, route
from egress import FILES, NAME, REMOVED, Call, Egress, calls, egress
from envoy import Envoy
from launch import poll
from mounts import Secret
from upstream import Authority, Upstream

Start = Callable[..., Envoy]

NAMED = "login.test"


def started(start: Start, parts: Egress) -> Envoy:
    """An Envoy whose listener `main` leads to the egress listener."""
    front = listener([route("/", NAME)])
    return start(bootstrap([front, *parts.listeners], parts.clusters, **parts.bootstrap_extras))


def get(
    envoy: Envoy, path: str, host: str = FILES, scheme: str = "", method: bytes = b"GET"
) -> raw.Response:
    """One call; its path is percent-encoded."""
    headers = [(b"host", host.encode())]
    if scheme:
        headers.append((b"x-egress-scheme", scheme.encode()))
    return raw.request(envoy.port(), method, quote(path).encode(), headers)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A mounted folder whose name has to be encoded."""
    folder = tmp_path / "all secrets"
    folder.mkdir()
    return folder


@pytest.fixture
def secure(authority: Authority) -> Iterator[Upstream]:
    """A TLS server of several names."""
    context = authority.server_context([NAMED, "localhost"], http2=False)
    with Upstream(tls=context) as server:
        yield server


def test_files_of_the_mounts_are_served_and_nothing_else(
    tmp_path: Path, root: Path, start_envoy: Start
) -> None:
    second = tmp_path / "second"
    for folder in (second, tmp_path / "all secrets beside"):
        folder.mkdir()
        (folder / "token").write_text("of " + folder.name)
    secret = Secret(root, "openai")
    secret.swap({"apiKey": "sk-1\n"})
    envoy = started(start_envoy, egress([root, second]))
    answer = get(envoy, str(secret.path("apiKey")))
    assert (answer.status, answer.body) == (200, b"sk-1\n")
    # By this the filter tells an answer of the listener from Envoy's own.
    assert answer.values("server") != []
    assert get(envoy, str(second / "token")).body == b"of second"
    assert get(envoy, str(tmp_path / "all secrets beside/token")).status == 404
    assert get(envoy, str(secret.path("other"))).status == 404
    assert get(envoy, "/etc/passwd").status == 404
    assert get(envoy, str(secret.folder)).status == 403
    assert get(envoy, f"{root}/../second/token").status == 400
    assert get(envoy, str(secret.path("apiKey")), method=b"POST").status == 405
    assert get(envoy, str(secret.path("apiKey")), host="127.0.0.1:1", scheme="http").status == 503


def test_a_name_reaches_exactly_its_file_whatever_it_is_made_of(
    root: Path, start_envoy: Start
) -> None:
    keys = ["percent", "per%63ent", "sp ace", "sp%20ace", "sp+ace", "üñí", "a#b", "a;b&c=d"]
    secret = Secret(root, "odd % näme")
    secret.swap({key: f"value of {key}" for key in keys})
    envoy = started(start_envoy, egress([root]))
    found = {key: get(envoy, str(secret.path(key))).body.decode() for key in keys}
    assert found == {key: f"value of {key}" for key in keys}


def test_the_file_server_takes_an_encoded_question_mark_for_a_query(
    root: Path, start_envoy: Start
) -> None:
    """So no name of a Secret or key may hold one."""
    secret = Secret(root, "odd")
    secret.swap({"a?b": "of the whole name", "a": "of its beginning"})
    envoy = started(start_envoy, egress([root]))
    assert get(envoy, str(secret.path("a?b"))).body == b"of its beginning"


def test_edits_of_a_secret_are_served_at_once(root: Path, start_envoy: Start) -> None:
    secret = Secret(root, "openai")
    envoy = started(start_envoy, egress([root]))

    def seen(key: str) -> tuple[int, bytes]:
        answer = get(envoy, str(secret.path(key)))
        return answer.status, answer.body

    assert seen("apiKey")[0] == 404
    secret.swap({"apiKey": "one", "other": "two"})
    assert (seen("apiKey"), seen("other")) == ((200, b"one"), (200, b"two"))
    secret.swap({"apiKey": "three", "third": "four"})
    assert (seen("apiKey"), seen("third")) == ((200, b"three"), (200, b"four"))
    assert seen("other")[0] == 404
    secret.remove("apiKey")
    assert seen("apiKey")[0] == 404
    assert seen("third") == (200, b"four")
    secret.delete()
    assert seen("third")[0] == 404
    assert not secret.folder.exists()
    secret.swap({"apiKey": "five"})
    assert seen("apiKey") == (200, b"five")


def test_a_secret_looks_as_the_kubelet_makes_it(root: Path) -> None:
    secret = Secret(root, "openai", "team")
    secret.swap({"apiKey": "one"})
    first = (secret.folder / "..data").readlink()
    secret.swap({"apiKey": "two"})
    second = (secret.folder / "..data").readlink()
    assert first != second
    assert secret.path("apiKey").readlink() == Path("..data/apiKey")
    assert secret.path("apiKey") == root / "team/openai/apiKey"
    found = {one.name for one in secret.folder.iterdir()}
    assert found == {"..data", "apiKey", second.name}


@pytest.mark.parametrize("host", [NAMED, "127.0.0.1:{}"], ids=["named", "looked up"])
def test_a_plain_host_gets_the_call_without_the_headers_of_envoy(
    upstream: Upstream, start_envoy: Start, host: str
) -> None:
    host = host.format(upstream.port)
    envoy = started(start_envoy, egress(hosts={NAMED: upstream.port}))
    assert get(envoy, "/token", host, "http").status == 200
    assert get(envoy, "/token", host).status == 400
    assert get(envoy, "/token", host, "https").status == 503
    seen = upstream.only()
    assert (seen.path, seen.authority) == ("/token", host.encode())
    assert [name for name in REMOVED if seen.values(name)] == []
    assert [name for name, _ in seen.headers if name.startswith(b"x-")] == []


@pytest.mark.parametrize("host", [NAMED, "localhost:{}"], ids=["named", "looked up"])
def test_a_tls_host_gets_the_call_if_its_certificate_is_right(
    authority: Authority, secure: Upstream, start_envoy: Start, host: str
) -> None:
    host = host.format(secure.port)
    wrong = {"other.test": secure.port, f"{NAMED}:8443": ("127.0.0.1", secure.port)}
    hosts = {NAMED: secure.port, **wrong}
    envoy = started(start_envoy, egress(ca_pem=authority.pem, hosts=hosts))
    assert get(envoy, "/token", host, "https").status == 200
    # The same server under another name, by its address, and asked without TLS.
    assert get(envoy, "/token", "other.test", "https").status == 503
    assert get(envoy, "/token", f"127.0.0.1:{secure.port}", "https").status == 503
    assert get(envoy, "/token", host, "http").status == 503
    seen = secure.only()
    assert seen.authority == host.encode()
    assert secure.server_names[0] == host.partition(":")[0]
    assert [name for name, _ in seen.headers if name.startswith(b"x-")] == []
    assert get(envoy, "/token", f"{NAMED}:8443", "https").status == 200
    assert secure.server_names[-1] == NAMED


def test_a_server_of_an_unknown_authority_gets_nothing(
    secure: Upstream, start_envoy: Start
) -> None:
    envoy = started(start_envoy, egress(hosts={NAMED: secure.port}))
    for host in (NAMED, f"localhost:{secure.port}"):
        assert get(envoy, "/token", host, "https").status == 503
    assert secure.begun == []


def test_every_call_is_told(root: Path, upstream: Upstream, start_envoy: Start) -> None:
    envoy = started(start_envoy, egress([root], hosts={NAMED: upstream.port}))
    path = str(root / "default/openai/apiKey")
    get(envoy, path)
    get(envoy, "/token", NAMED, "http", method=b"POST")

    def told() -> list[Call] | None:
        found = calls(envoy)
        return found if len(found) == 2 else None

    first, second = poll(told, 10, "two calls")
    assert first[:4] == ("GET", FILES, quote(path), 404)
    assert second[:4] == ("POST", NAMED, "/token", 200)
    assert 0 <= second.begun - first.begun < 10
    assert calls(envoy, FILES) == [first]
    assert calls(envoy, path="/token") == [second]
    assert envoy.stats("http.egress.")["http.egress.downstream_rq_completed"] == 2
