"""A stand-in for the container services of AWS, stricter than the real ones: the endpoint of an ECS
task, and the agent of EKS Pod Identity, which wants to see a token.

What they refuse, and how, is modelled on the documentation of AWS. botocore gets its keys from them
in test_aws_metadata_stand_in_clients.py.
"""

from __future__ import annotations

from typing import Any

from aws_metadata import Lent, Refused, Script, Service
from replies import json_reply
from sts_answers import iso
from wire import Reply, Request

ECS, EKS, EKS_6 = "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"
TASK_PATH = "/v2/credentials/6d1ee2b4-0f4d-4c3a-9bd2-5f7e1c7f1a10"
POD_PATH = "/v1/credentials"
ACCOUNT = "123456789012"


class Container(Service):
    """The service of one task or pod. Without a `token` a request has to have no authorization."""

    def __init__(
        self, *args: Any, target: str = TASK_PATH, token: str | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.target = target
        """Path and query at which the keys are."""
        self.tokens: set[str] = set() if token is None else {token}
        """Those that count."""
        self.role = "of-the-container"
        self.presented: list[str | None] = []
        """The authorization of every request, in order."""

    # For the test.

    def script(self, reply: Script, *, times: int | None = 1) -> None:
        """The next requests get this reply."""
        self.on(None, lambda _: reply(), times=times)

    def document(self, lent: Lent, **other: Any) -> dict[str, Any]:
        """The answer with these keys; None leaves a field out."""
        whole = {
            "AccessKeyId": lent.keys.access,
            "SecretAccessKey": lent.keys.secret,
            "Token": lent.keys.token,
            "Expiration": iso(lent.end),
            "AccountId": ACCOUNT,
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{lent.role}",
            **other,
        }
        return {name: value for name, value in whole.items() if value is not None}

    # The service.

    def own(self, request: Request) -> set[str]:
        """What proves who asks."""
        return {"authorization"}

    def inspected(self, request: Request) -> None:
        """The one request there is, by whom it is for."""
        value = request.header("authorization")
        self.presented.append(value)
        if request.target != self.target.encode():
            raise Refused(404, f"no such path {request.target!r}")
        if request.method != "GET":
            raise Refused(405, f"{request.method} {request.path}")
        if request.values("accept") != [b"application/json"]:
            raise Refused(406, f"accept {request.values('accept')}")
        if value is not None and not self.tokens:
            raise Refused(400, "an authorization that nobody asked for")
        if self.tokens and value not in self.tokens:
            raise Refused(401 if value is None else 403, "no token, or one that does not count")

    def usual(self, _request: Request) -> Reply:
        """The keys."""
        return json_reply(self.document(self.lend(self.role)))

    def refusal(self, refusal: Refused) -> Reply:
        """An error, in JSON as ECS words it."""
        body = super().refusal(refusal).body
        assert isinstance(body, bytes)
        words = {"code": "InvalidRequest", "message": body.decode()}
        return json_reply(words | {"HTTPErrorCode": refusal.status}, refusal.status)
