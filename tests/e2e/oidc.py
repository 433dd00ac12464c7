"""Identity providers: the certified `oidc-provider` in a process, and one that a test bends."""

from __future__ import annotations

import base64
import fcntl
import functools
import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from bootstrap import ROOT
from entra import CLIENT, FORM, LEAKED, TENANT
from entra_rules import AUDIENCE, Federation, decoded, fields
from manifests import Manifest, policy, secret
from replies import json_reply
from upstream import Authority, Upstream
from wire import Reply, Request

BASIC, POST = "client_secret_basic", "client_secret_post"
Field = tuple[str, str]

WELL_KNOWN = "/.well-known/openid-configuration"
ID, PASSWORD = "the-gateway", "pass:word/+=&% of~the?gateway"
LEAKS = set(LEAKED) - {"authorization"}


class Node(NamedTuple):
    """Node.js and where the packages are."""

    program: Path
    packages: Path


@functools.cache
def node() -> Node:
    """Installed on first use, by one process at a time."""
    (ROOT / ".tools").mkdir(exist_ok=True)
    with (ROOT / ".tools/oidc.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["bash", "-c", '. "$0"; ensure_oidc', str(ROOT / "scripts/lib.sh")]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    folder, packages = done.stdout.split("\n")[:2]
    return Node(Path(folder) / "bin/node", Path(packages))


class OidcProvider:
    """The certified server, over TLS if an authority is given. An issuer names the host by which
    it is reached; the port is free."""

    def __init__(
        self,
        issuer: str = "https://idp.test",
        authority: Authority | None = None,
        *,
        clients: Mapping[str, str] | None = None,
        methods: Sequence[str] = (BASIC, POST),
        scopes: Sequence[str] = (),
        audiences: Mapping[str, str] | None = None,
        life: int = 600,
    ) -> None:
        self.issuer = issuer
        self.host = urlsplit(issuer).netloc
        self.authority = authority
        accepted = dict(audiences or {AUDIENCE: "jwt"})
        known = clients or {ID: PASSWORD}
        self.options: dict[str, Any] = {
            "issuer": issuer,
            "port": 0,
            "tls": None,
            "clients": [{"client_id": name, "client_secret": known[name]} for name in known],
            "methods": list(methods),
            "scopes": list(scopes),
            "audiences": accepted,
            "fallback": next(iter(accepted)),
            "life": life,
        }
        if authority:
            leaf = authority.ca.issue_cert(self.host)
            chain = b"".join(one.bytes() for one in leaf.cert_chain_pems).decode()
            key = leaf.private_key_pem.bytes().decode()
            self.options["tls"] = {"cert": chain, "key": key}
        self.port = 0
        self._changed = threading.Condition()
        self._lines: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._keys: jwt.PyJWKSet | None = None

    def __enter__(self) -> OidcProvider:
        program, packages = node()
        server = ROOT / "tests/e2e/oidc/server.mjs"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([program, server, packages], **pipes, text=True)
        self._process = process
        assert process.stdin
        process.stdin.write(json.dumps(self.options) + "\n")
        process.stdin.flush()
        threading.Thread(target=self._read, daemon=True).start()
        self.port = self._wait(1, 30)[0]["port"]
        return self

    def __exit__(self, *_exception: object) -> None:
        process = self._process
        assert process
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What was asked: method, path, status, error, names (of headers), type (of the body),
        basic (whether the client said so), form and client."""
        with self._changed:
            return self._lines[1:]

    def wait_for(self, count: int = 1, timeout: float = 10) -> list[dict[str, Any]]:
        """The requests, as soon as there are so many."""
        return self._wait(count + 1, timeout)[1:]

    def tokens(self) -> list[dict[str, Any]]:
        """The token requests."""
        return [request for request in self.requests if request["path"] == "/token"]

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request of the test's own."""
        scheme, verify = ("https", False) if self.authority else ("http", True)
        with httpx.Client(verify=verify, trust_env=False, timeout=10) as client:
            url = f"{scheme}://127.0.0.1:{self.port}{path}"
            headers = {"host": self.host, **options.pop("headers", {})}
            return client.request(method, url, headers=headers, **options)

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process
        return self._process.pid

    def keys(self) -> jwt.PyJWKSet:
        """Its public keys."""
        if self._keys is None:
            self._keys = jwt.PyJWKSet.from_dict(self.ask("GET", "/jwks").json())
        return self._keys

    def federation(self, client: str = ID, audience: str = AUDIENCE) -> Federation:
        """A federated credential for tokens of one of its clients."""
        return Federation(self.issuer, client, self.keys, audience)

    def _read(self) -> None:
        assert self._process
        for line in self._process.stdout or ():
            with self._changed:
                self._lines.append(json.loads(line))
                self._changed.notify_all()

    def _wait(self, count: int, timeout: float) -> list[dict[str, Any]]:
        with self._changed:
            done = self._changed.wait_for(lambda: len(self._lines) >= count, timeout)
            assert done, f"{len(self._lines)} of {count} lines: {self._lines}"
            return list(self._lines)


class Issuer(Upstream):
    """An identity provider with one client. It is strict in what it takes; what it answers, a test
    may change: the discovery `document`, the `claims` of a token, and by rules all else."""

    def __init__(self, issuer: str = "https://idp.test", **options: Any) -> None:
        super().__init__(default=self.served, **options)
        self.issuer = issuer
        self.names = {urlsplit(issuer).netloc}
        """The hosts by which it may be called."""
        self.targets = {urlsplit(issuer).path.rstrip("/") + "/token"}
        """Where it gives tokens."""
        self.methods = [BASIC, POST]
        """How the client may say who it is."""
        self.document: dict[str, Any] = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
        self.claims: dict[str, Any] = {"iss": issuer, "sub": ID, "aud": AUDIENCE}
        self.life = 600.0
        self.forms: list[list[Field]] = []
        """What was asked for with the right password, without what proves who asks, in order of
        the names."""
        self.given: list[str] = []
        """The tokens."""
        self.refused: list[str] = []
        """Why requests were refused."""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def keys(self) -> jwt.PyJWKSet:
        """Its public key."""
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return jwt.PyJWKSet.from_dict({"keys": [{**public, "kid": "own", "use": "sig"}]})

    def federation(self) -> Federation:
        """A federated credential for its tokens."""
        return Federation(self.issuer, ID, self.keys)

    def asked(self, path: str) -> list[Request]:
        """The requests for a path."""
        return [request for request in self.requests if request.path == path]

    def token(self, **claims: Any) -> str:
        """A JWT as it gives them, other claims put in."""
        now = int(time.time())
        times = {"iat": now, "exp": now + int(self.life)}
        every = {**times, **self.claims, **claims}
        return jwt.encode(every, self._key, algorithm="RS256", headers={"kid": "own"})

    def served(self, request: Request) -> Reply:
        """Discovery and tokens."""
        root = urlsplit(self.issuer).path.rstrip("/")
        leaks = sorted(name for name in LEAKS if request.values(name))
        if leaks or request.authority.decode() not in self.names:
            return self.refusal(400, "invalid_request", f"{request.authority!r}, {leaks}")
        if (request.method, request.target.decode()) == ("GET", root + WELL_KNOWN):
            return json_reply(self.document)
        if request.method != "POST" or request.target.decode() not in self.targets:
            return self.refusal(404, "invalid_request", f"{request.method} {request.target!r}")
        if request.values("content-type") != [FORM.encode()]:
            return self.refusal(400, "invalid_request", "the body must be a form")
        pairs = fields(request.body)
        form = dict(pairs)
        once = [name for name, _ in pairs if name != "resource"]
        if len(set(once)) < len(once):
            return self.refusal(400, "invalid_request", f"a field occurs twice: {once}")
        method = self.proved(request, form)
        if method not in self.methods:
            return self.refusal(401, "invalid_client", f"authenticated by {method}")
        if form.get("grant_type") != "client_credentials":
            return self.refusal(400, "unsupported_grant_type", "no such grant")
        if unknown := form.keys() - {"grant_type", "scope", "audience", "resource"}:
            return self.refusal(400, "invalid_request", f"unknown fields {sorted(unknown)}")
        self.forms.append(sorted(pair for pair in pairs if pair[0] in form))
        self.given.append(self.token())
        token = {"access_token": self.given[-1], "token_type": "Bearer"}
        return json_reply({**token, "expires_in": int(self.life)})

    def refusal(self, status: int, error: str, text: str) -> Reply:
        """An error of OAuth."""
        self.refused.append(text)
        return json_reply({"error": error, "error_description": text}, status)

    def proved(self, request: Request, form: dict[str, str]) -> str | None:
        """By which method the request proves to be the client's; that part leaves the form."""
        values = request.values("authorization")
        who = [form.pop("client_id", None), form.pop("client_secret", None)]
        if not values:
            return POST if who == [ID, PASSWORD] else None
        kind, _, text = values[0].partition(b" ")
        if len(values) > 1 or kind != b"Basic" or who != [None, None]:
            return None
        name, _, word = base64.b64decode(text, validate=True).decode("ascii").partition(":")
        return BASIC if (decoded(name), decoded(word)) == (ID, PASSWORD) else None


# Policies.


def oidc(
    issuer: str = "https://idp.test", client: str = ID, *, name: str = "idp", **more: Any
) -> Manifest:
    """An `oidc` of an exchange whose Secret is `<name>-client`; `more` are fields of it, or of its
    provider if they are called so."""
    provider = {"issuer": issuer, **more.pop("provider", {})}
    reference = {"name": f"{name}-client"}
    return {"provider": provider, "clientID": client, "clientSecret": reference, **more}


def exchanged(
    name: str = "azure",
    exchange: Manifest | None = None,
    password: str = PASSWORD,
    tenant: str = TENANT,
    client: str = CLIENT,
    **more: Any,
) -> list[Manifest]:
    """A policy of an application that proves who it is by a token of another provider, and the
    Secret of the exchange; `more` are fields of `oidcExchangeToken`."""
    token = {"oidc": exchange or oidc(name=name), **more}
    settings = {"clientID": client, "tenantID": tenant, "oidcExchangeToken": token}
    return [
        policy(name, "AzureCredentials", azureCredentials=settings),
        secret(f"{name}-client", "client-secret", password),
    ]
