"""The clients of AWS that talk to Bedrock, without anything of the developer's own."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from aws import Keys

NAMES = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "BEARER_TOKEN_BEDROCK")


def isolate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the developer's keys, files and proxies away from the clients."""
    for name in (*NAMES, "REGION", "DEFAULT_REGION", "ENDPOINT_URL", "DEFAULT_PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


def boto(
    url: str | None, keys: Keys | None, region: str = "us-west-2", service: str = "bedrock-runtime"
) -> Any:
    """A client of boto3 for this address or the real one; without keys it does not sign at all."""
    options: dict[str, Any] = {"retries": {"max_attempts": 0}, "read_timeout": 20}
    if keys is None:
        options["signature_version"] = UNSIGNED
    return boto3.session.Session().client(
        service,
        endpoint_url=url,
        region_name=region,
        config=Config(**options),
        **(keys.fields() if keys else {}),
    )
