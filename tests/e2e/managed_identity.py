"""Stand-ins for the services that give tokens of managed identities, stricter than the real ones.

One is the metadata service of a virtual machine, the other that of App Service and Container Apps.

What they refuse, and how, is modelled on the documentation of Microsoft. The official clients get
their tokens from them in test_azure_clients.py.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import Any, ClassVar

from entra import PUBLIC, scope_of
from entra_rules import WORDS
from managed_rules import (
    OF_CLIENTS,
    PLAIN_HEADERS,
    SYSTEM,
    Answer,
    Fields,
    Issued,
    Refused,
    User,
    failure,
    parsed,
)
from replies import default_reply, json_reply
from upstream import Upstream
from wire import Reply, Request

ADDRESS = "169.254.169.254"
"""Of the metadata service."""

TOKEN_PATH = "/metadata/identity/oauth2/token"


class ManagedIdentities(Upstream):
    """What both services have in common. `hosts` are names by which it may be called beside its own
    address and port; with `official` it takes what the official clients send beside what is needed;
    `passes` are further headers that a request may have."""

    version: ClassVar[str]
    path: ClassVar[str]
    names: ClassVar[Mapping[str, str]]
    """How a request names an identity: a parameter, and the name of a `User` that it is."""

    def __init__(
        self,
        users: Sequence[User] = (),
        *,
        hosts: Sequence[str] = (),
        official: bool = False,
        passes: set[str] | frozenset[str] = frozenset(),
        **options: Any,
    ) -> None:
        super().__init__(default=self.served, **options)
        self.users = list(users)
        self.system: str | None = SYSTEM
        """The client id of the system-assigned identity; None if there is none."""
        self.hosts = {*hosts, f"{self.host}:{self.port}"}
        self.official = official
        self.passes = passes
        self.resources = [scope_of(PUBLIC).removesuffix("/.default")]
        self.life: float = 86_399
        self.bend: Callable[[Fields], Fields] = dict
        """What becomes of an answer with a token before it is sent."""
        self.keeps: float | None = None
        """A token is given again while it has more than so many seconds to live; None is never."""
        self.issued: dict[str, Issued] = {}
        """All tokens, by their text."""
        self.asked: list[tuple[float, Fields]] = []
        """When somebody asked and for what, of the requests that were understood."""
        self.refused: list[str] = []
        """Why requests were refused that no client of ours may send."""
        self._scripts: dict[str, deque[Answer]] = {}
        self._always: dict[str, Answer] = {}
        self._away = False

    # For the test.

    def environment(self) -> dict[str, str]:
        """What the platform puts into the environment for it to be found."""
        raise NotImplementedError

    def script(self, identity: str, *answers: Answer) -> None:
        """The next requests for an identity, by the text that names it, get these answers."""
        self._scripts.setdefault(identity, deque()).extend(answers)

    def always(self, identity: str, answer: Answer) -> None:
        """Every request for it gets this answer, once the script is over."""
        self._always[identity] = answer

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """While it lasts connections break."""
        self._away = True
        try:
            yield
        finally:
            self._away = False

    def queries(self, identity: str | None = None) -> list[Fields]:
        """What was asked, of one identity or of all."""
        asked = [query for _, query in list(self.asked)]
        return [query for query in asked if identity in (None, self._named(query))]

    def times(self, identity: str) -> list[float]:
        """When somebody asked for an identity."""
        return [when for when, query in list(self.asked) if self._named(query) == identity]

    def given(self, client: str = SYSTEM) -> list[str]:
        """The tokens of an identity, in order."""
        return [text for text, one in list(self.issued.items()) if one.client == client]

    def alive(self, token: str, now: float | None = None) -> bool:
        """Whether this token was issued here and has not ended."""
        issued = self.issued.get(token)
        return issued is not None and (time.time() if now is None else now) < issued.end

    def provider(self, request: Request) -> Reply:
        """What Azure OpenAI answers: 401 unless the one credential is a token that is alive."""
        values = [value.decode("latin-1") for value in request.values("authorization")]
        bearers = [value.removeprefix("Bearer ") for value in values if value[:7] == "Bearer "]
        if len(values) != 1 or len(bearers) != 1 or not self.alive(bearers[0]):
            return json_reply({"error": {"code": "401", "message": f"{len(values)} values"}}, 401)
        return default_reply(request)

    def token(self, client: str, resource: str) -> Reply:
        """Gives a token of an identity, a new one or one that was given before."""
        now = time.time()
        for text, one in self.issued.items():
            same = (one.client, one.resource) == (client, resource)
            if same and self.keeps is not None and one.end - now > self.keeps:
                return json_reply(self.bend(self.fields(text, one, now)))
        text = secrets.token_urlsafe(40)
        self.issued[text] = Issued(client, resource, now, now + self.life)
        return json_reply(self.bend(self.fields(text, self.issued[text], now)))

    # The service.

    def served(self, request: Request) -> Reply:
        """Answers whatever comes."""
        if self._away:
            return Reply(abort=True)
        try:
            self.checked(request)
            query = self.understood(request)
        except Refused as refusal:
            self.refused.append(str(refusal))
            return self.refusal(403, "forbidden", f"{refusal}")
        self.asked.append((time.time(), query))
        identity = self._named(query)
        answers = self._scripts.get(identity)
        answer = answers.popleft() if answers else self._always.get(identity)
        if answer is not None:
            return answer() if callable(answer) else answer
        return self.granted(query)

    def checked(self, request: Request) -> None:
        """The form of the request is right, but for its query."""
        if request.authority.decode("latin-1") not in self.hosts:
            raise Refused(f"this is not {request.authority!r}")
        allowed = (
            PLAIN_HEADERS | self.passes | self.proof() | (OF_CLIENTS if self.official else set())
        )
        if unknown := {name.decode("latin-1") for name, _ in request.headers} - allowed:
            raise Refused(f"headers {sorted(unknown)}")
        if request.method != "GET" or request.body or request.trailers:
            raise Refused(f"{request.method}, a body or trailers")
        if request.path != self.path:
            raise Refused(f"no such path {request.target!r}")

    def proof(self) -> set[str]:
        """The headers that show that the request is not a forged one."""
        raise NotImplementedError

    def understood(self, request: Request) -> Fields:
        """The query decoded."""
        query = parsed(request.query, {"api-version", "resource", *self.names})
        if query.get("api-version") != self.version or "resource" not in query:
            raise Refused(f"the query is {request.query!r}")
        if len(query) > 3:
            raise Refused("more than one identity")
        return query

    def granted(self, query: Fields) -> Reply:
        """A token, if there are such an identity and such a resource."""
        if query["resource"] not in self.resources:
            return self.refusal(400, "invalid_resource", "AADSTS500011: no such resource")
        client = self.system
        for parameter, name in self.names.items():
            if parameter in query:
                found = [one for one in self.users if getattr(one, name) == query[parameter]]
                client = found[0].client if found else None
        if client is None:
            return self.refusal(400, "invalid_request", "Identity not found")
        return self.token(client, query["resource"])

    def fields(self, text: str, issued: Issued, now: float) -> Fields:
        """The answer with a token."""
        raise NotImplementedError

    def refusal(self, status: int, error: str, text: str) -> Reply:
        """An error in the form of this service."""
        raise NotImplementedError

    def _named(self, query: Fields) -> str:
        return next((query[name] for name in self.names if name in query), SYSTEM)


class Machine(ManagedIdentities):
    """The metadata service of a virtual machine."""

    version = "2018-02-01"
    path = TOKEN_PATH
    names: ClassVar = {"client_id": "client", "object_id": "object", "msi_res_id": "resource"}

    def environment(self) -> dict[str, str]:
        """It has a fixed address, but a test may move it."""
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{self.host}:{self.port}"}

    def proof(self) -> set[str]:
        """A browser that was led here would not send it."""
        return {"metadata"}

    def served(self, request: Request) -> Reply:
        """Tells an official client that has a look first what the real service tells it."""
        if self.official and not request.values("metadata") and not self._away:
            text = "Required metadata header not specified"
            return self.refusal(400, "invalid_request", text)
        return super().served(request)

    def checked(self, request: Request) -> None:
        """The header is there, once."""
        super().checked(request)
        if request.values("metadata") != [b"true"]:
            raise Refused(f"metadata: {request.values('metadata')}")

    def fields(self, text: str, issued: Issued, now: float) -> Fields:
        """Every number is a text."""
        left = str(max(0, int(issued.end - now + 0.001)))
        return {
            "access_token": text,
            "client_id": issued.client,
            "expires_in": left,
            "expires_on": str(int(issued.end)),
            "ext_expires_in": left,
            "not_before": str(int(issued.begin)),
            "resource": issued.resource,
            "token_type": "Bearer",
        }

    def refusal(self, status: int, error: str, text: str) -> Reply:
        """An error."""
        return failure(status, error, text)


class AppService(ManagedIdentities):
    """The endpoint of App Service, which Container Apps has too."""

    version = "2019-08-01"
    path = "/msi/token"
    names: ClassVar = {"client_id": "client", "object_id": "object", "mi_res_id": "resource"}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.header = "".join(secrets.choice(ascii_lowercase) for _ in range(32))
        """What it wants to see; it could be the name of an error, too."""

    def environment(self) -> dict[str, str]:
        """Both variables."""
        endpoint = f"http://{self.host}:{self.port}{self.path}"
        return {"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": self.header}

    def proof(self) -> set[str]:
        """Only who has this environment knows its value."""
        return {"x-identity-header"}

    def checked(self, request: Request) -> None:
        """The value is right."""
        super().checked(request)
        if request.values("x-identity-header") != [self.header.encode()]:
            raise Refused("another x-identity-header")

    def fields(self, text: str, issued: Issued, now: float) -> Fields:
        """Only the end is told, as a text."""
        return {
            "access_token": text,
            "client_id": issued.client,
            "expires_on": str(int(issued.end)),
            "resource": issued.resource,
            "token_type": "Bearer",
        }

    def refusal(self, status: int, error: str, text: str) -> Reply:
        """An error of another form than anybody else's."""
        del error
        number = secrets.token_hex(8)
        message = f"{text} {WORDS}"
        return json_reply(
            {"statusCode": status, "message": message, "correlationId": number}, status
        )
