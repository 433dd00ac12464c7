"""The stand-ins for the metadata services of AWS give keys to who asks rightly, to nobody else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone

import pytest

import raw
from aws import Keys
from aws_container import POD_PATH, TASK_PATH, Container
from aws_imds import ADDRESS, ROLE_PATH, TOKEN, TOKEN_PATH, TTL, Imds
from aws_metadata import TO_A_CLUSTER, Ledger
from entra_rules import WORDS
from launch import poll
from raw import Response
from wire import Header, Reply

HOST = (b"host", ADDRESS.encode())
LIFE = (TTL.encode(), b"21600")
ACCEPT = (b"accept", b"application/json")
DETOURS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "x-egress-scheme",
    "x-envoy-internal",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-attempt-count",
    "forwarded",
)


@pytest.fixture
def imds() -> Iterator[Imds]:
    """The service of a machine with a role."""
    with Imds(hosts=[ADDRESS]) as server:
        yield server
        assert server.errors == []


@pytest.fixture
def pod() -> Iterator[Container]:
    """The agent of a pod, which has a token."""
    with Container(hosts=[ADDRESS], target=POD_PATH, token="word-1") as server:
        yield server
        assert server.errors == []


def ask(imds: Imds, method: str, target: str, *headers: Header, host: Header = HOST) -> Response:
    """A request for the service of a machine."""
    return raw.request(imds.port, method.encode(), target.encode(), [host, *headers])


def token(imds: Imds, life: bytes = b"21600") -> Header:
    """The header with a token that the service has given."""
    answer = ask(imds, "PUT", TOKEN_PATH, (TTL.encode(), life))
    assert (answer.status, answer.values(TTL)) == (200, [life])
    return TOKEN.encode(), answer.body


def fetch(
    pod: Container, *headers: Header, target: str = POD_PATH, method: str = "GET"
) -> Response:
    """A request for the agent of a pod."""
    return raw.request(pod.port, method.encode(), target.encode(), [HOST, *headers])


def word(text: str) -> Header:
    """An authorization."""
    return b"authorization", text.encode()


def test_a_machine_gives_its_keys_in_three_steps(imds: Imds) -> None:
    given = token(imds)
    assert ask(imds, "GET", ROLE_PATH, given).body == b"of-the-machine"
    answer = ask(imds, "GET", ROLE_PATH + "of-the-machine", given)
    (lent,) = imds.given
    told = json.loads(answer.body)
    assert told.pop("LastUpdated")
    end = datetime.strptime(told.pop("Expiration"), "%Y-%m-%dT%H:%M:%SZ")
    assert end.replace(tzinfo=timezone.utc).timestamp() == lent.end
    assert told == {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": lent.keys.access,
        "SecretAccessKey": lent.keys.secret,
        "Token": lent.keys.token,
    }
    assert imds.steps() == ["token", "role", "keys"]
    assert imds.refused == []


def test_a_container_gives_its_keys_to_who_has_the_token(pod: Container) -> None:
    answer = fetch(pod, ACCEPT, word("word-1"))
    (lent,) = pod.given
    told = json.loads(answer.body)
    assert (told["AccessKeyId"], told["Token"]) == (lent.keys.access, lent.keys.token)
    assert told["SecretAccessKey"] == lent.keys.secret
    assert "SessionToken" not in told
    assert "Code" not in told


def test_keys_are_the_same_for_half_of_their_life(imds: Imds) -> None:
    given = token(imds)
    imds.life = 3600
    for _ in range(3):
        ask(imds, "GET", ROLE_PATH + "of-the-machine", given)
    assert len(imds.ledger.lent) == 1
    imds.life = 8000
    ask(imds, "GET", ROLE_PATH + "of-the-machine", given)
    assert len(imds.ledger.of("of-the-machine")) == 2
    assert imds.given[0] == imds.given[2] != imds.given[3]


@pytest.mark.parametrize("name", DETOURS)
def test_who_comes_through_a_proxy_gets_nothing(imds: Imds, pod: Container, name: str) -> None:
    detour = (name.encode(), b"x")
    given = token(imds)
    # Whatever a test has scripted.
    imds.script("role", lambda: Reply(200), times=None)
    for method, target, header in (
        ("PUT", TOKEN_PATH, LIFE),
        ("GET", ROLE_PATH, given),
        ("GET", ROLE_PATH + "of-the-machine", given),
    ):
        assert ask(imds, method, target, header, detour).status == 403
    assert fetch(pod, ACCEPT, word("word-1"), detour).status == 403
    assert len(imds.refused) == 3
    assert imds.given == pod.given == []


def test_what_envoy_adds_can_be_let_pass(imds: Imds) -> None:
    detours = [(name.encode(), b"x") for name in TO_A_CLUSTER]
    imds.passed = TO_A_CLUSTER
    assert ask(imds, "PUT", TOKEN_PATH, LIFE, *detours).status == 200
    assert ask(imds, "PUT", TOKEN_PATH, LIFE, (b"x-envoy-attempt-count", b"1")).status == 403
    assert ask(imds, "PUT", TOKEN_PATH, LIFE, (b"x-forwarded-for", b"1")).status == 403


def test_headers_of_somebody_else_are_refused(imds: Imds, pod: Container) -> None:
    given = token(imds)
    for name in (b"authorization", b"cookie", b"x-amz-date", b"accept-encoding", TTL.encode()):
        assert ask(imds, "GET", ROLE_PATH, given, (name, b"1")).status == 403, name
    assert ask(imds, "PUT", TOKEN_PATH, LIFE, given).status == 403
    assert ask(imds, "PUT", TOKEN_PATH, LIFE, LIFE).status == 403
    for name in (b"cookie", b"x-amz-date", b"x-api-key", b"accept-encoding", TOKEN.encode()):
        assert fetch(pod, ACCEPT, word("word-1"), (name, b"1")).status == 403, name
    assert fetch(pod, ACCEPT, word("word-1"), word("word-1")).status == 403


WRONG: Mapping[str, tuple[int, str, str]] = {
    "token by get": (405, "GET", TOKEN_PATH),
    "token by post": (405, "POST", TOKEN_PATH),
    "role by post": (405, "POST", ROLE_PATH),
    "role by put": (405, "PUT", ROLE_PATH),
    "no slash": (404, "GET", ROLE_PATH.rstrip("/")),
    "two slashes": (404, "GET", "/" + ROLE_PATH),
    "query": (404, "GET", ROLE_PATH + "?"),
    "other version": (404, "PUT", "/2021-07-15/api/token"),
    "other role": (404, "GET", ROLE_PATH + "of-another"),
    "below": (404, "GET", ROLE_PATH + "of-the-machine/"),
    "elsewhere": (404, "GET", "/latest/user-data"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused(imds: Imds, name: str) -> None:
    status, method, target = WRONG[name]
    header = LIFE if target == TOKEN_PATH else token(imds)
    assert ask(imds, method, target, header).status == status
    assert len(imds.refused) == 1
    assert imds.given == []


def test_a_machine_answers_by_its_address_only(imds: Imds) -> None:
    for name in ("169.254.169.254:80", "169.254.170.2", "metadata.test", f"127.0.0.1:{imds.port}9"):
        assert ask(imds, "PUT", TOKEN_PATH, LIFE, host=(b"host", name.encode())).status == 404
    own = (b"host", f"127.0.0.1:{imds.port}".encode())
    assert ask(imds, "PUT", TOKEN_PATH, LIFE, host=own).status == 200


@pytest.mark.parametrize("life", [b"", b"0", b"00", b"021600", b"21601", b"-1", b"1.0", b"6h"])
def test_a_token_cannot_have_every_life(imds: Imds, life: bytes) -> None:
    assert ask(imds, "PUT", TOKEN_PATH, (TTL.encode(), life)).status == 400
    assert ask(imds, "PUT", TOKEN_PATH).status == 400
    assert imds.tokens == {}


def test_a_token_is_wanted_and_has_to_count(imds: Imds) -> None:
    given = token(imds)
    for headers in ([], [(TOKEN.encode(), b"AQAEx")], [(TOKEN.encode(), given[1] + b"x")]):
        assert ask(imds, "GET", ROLE_PATH, *headers).status == 401
    imds.forget_tokens()
    assert ask(imds, "GET", ROLE_PATH, given).status == 401
    short = token(imds, b"1")
    assert ask(imds, "GET", ROLE_PATH, short).status == 200
    poll(lambda: ask(imds, "GET", ROLE_PATH, short).status == 401, 5, "the end of a token")


def test_a_machine_of_version_1_knows_no_tokens(imds: Imds) -> None:
    imds.version_1 = 404
    assert ask(imds, "PUT", TOKEN_PATH, LIFE).status == 404
    assert ask(imds, "GET", ROLE_PATH).body == b"of-the-machine"
    assert ask(imds, "GET", ROLE_PATH, (TOKEN.encode(), b"x")).status == 401


def test_a_machine_may_leave_the_token_to_the_caller(imds: Imds) -> None:
    imds.version_2 = False
    assert ask(imds, "GET", ROLE_PATH).status == 200
    assert ask(imds, "GET", ROLE_PATH, token(imds)).status == 200


def test_a_machine_without_a_role_has_no_keys(imds: Imds) -> None:
    imds.role = None
    answer = ask(imds, "GET", ROLE_PATH, token(imds))
    assert answer.status == 404
    assert imds.refused == []


def test_late_keys_say_that_they_have_ended_and_work(imds: Imds) -> None:
    imds.late = 30
    answer = ask(imds, "GET", ROLE_PATH + "of-the-machine", token(imds))
    told = datetime.strptime(json.loads(answer.body)["Expiration"], "%Y-%m-%dT%H:%M:%SZ")
    assert told.replace(tzinfo=timezone.utc).timestamp() < time.time() - 29
    assert imds.given[0].end > time.time() + 3000


NOT_THEIRS: Mapping[str, tuple[int, Sequence[Header]]] = {
    "no token": (401, [ACCEPT]),
    "other token": (403, [ACCEPT, word("word-2")]),
    "longer": (403, [ACCEPT, word("word-1x")]),
    "bearer": (403, [ACCEPT, word("Bearer word-1")]),
    "letter case": (403, [ACCEPT, word("Word-1")]),
    "no accept": (406, [word("word-1")]),
    "any type": (406, [(b"accept", b"*/*"), word("word-1")]),
}


@pytest.mark.parametrize("name", NOT_THEIRS)
def test_a_container_gives_nothing_to_others(pod: Container, name: str) -> None:
    status, headers = NOT_THEIRS[name]
    answer = fetch(pod, *headers)
    assert answer.status == status
    assert WORDS in json.loads(answer.body)["message"]
    assert pod.given == []


def test_a_container_has_one_path_and_one_method(pod: Container) -> None:
    right = (ACCEPT, word("word-1"))
    for target in ("/", POD_PATH + "/", POD_PATH + "?", "/v1/credential", TASK_PATH):
        assert fetch(pod, *right, target=target).status == 404
    for method in ("POST", "PUT", "HEAD"):
        assert fetch(pod, *right, method=method).status == 405
    assert pod.given == []


def test_a_task_wants_no_token() -> None:
    with Container(hosts=[ADDRESS]) as task:
        assert fetch(task, ACCEPT, word("word-1"), target=TASK_PATH).status == 400
        assert fetch(task, ACCEPT, target=TASK_PATH).status == 200
        assert len(task.given) == 1


def test_the_ledger_takes_keys_of_others() -> None:
    ledger = Ledger()
    keys = Keys("ASIAOFANOTHER", "secret", "token")
    lent = ledger.issue("role", 60, keys)
    assert ledger.of("role") == [lent]
    assert lent.keys is keys
