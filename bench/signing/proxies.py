"""The Envoy that is measured, and the process that plays the provider."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap import Config, bootstrap, cluster, listener, wasm_filter
from section import QUIET, named_by_dns
from signing.cases import BUFFER, SIGNERS

ALONE = "signature"
"""The listener that signs in a loop, without a provider."""


@contextmanager
def provider() -> Iterator[int]:
    """Runs it; gives its port."""
    command = [sys.executable, str(Path(__file__).with_name("provider.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def measured(port: int, module: str) -> Config:
    """Every signer in one process, each with a listener and a cluster of its own; `port` is the
    provider's, `module` signs in a loop."""
    room = {"per_connection_buffer_limit_bytes": BUFFER}
    listeners, clusters = [], []
    for signer in SIGNERS:
        route = {"match": {"prefix": "/"}, "route": {"cluster": signer.name}}
        listeners.append(listener([route], name=signer.name, **room))
        filters = signer.filters()
        clusters.append(named_by_dns(cluster(signer.name, [port], filters=filters, **room)))
    loop = wasm_filter(None, name=ALONE, vm_id=ALONE, module=module)
    nothing: Config = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    listeners.append(listener([nothing], name=ALONE, filters=[loop]))
    return bootstrap(listeners, clusters) | QUIET
