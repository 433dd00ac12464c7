"""What people install: both images are pushed to a registry and pulled back by two tools."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from artifact import (
    FORMS,
    PROVENANCE,
    RAW,
    RUNTIME,
    SBOM,
    TAR,
    Pushed,
    Registry,
    package,
    pulled_by_crane,
    pulled_by_oras,
    run,
)
from bootstrap import ROOT, bootstrap, cluster, listener, route, wasm_filter, wasm_path
from envoy import Envoy
from manifests import config, keyed
from upstream import Upstream

Start = Callable[..., Envoy]
Pull = Callable[[Pushed, str, Path], bytes]

# The first run installs the tools.
pytestmark = pytest.mark.timeout(1200)

TOOLS = [pytest.param(pulled_by_oras, id="oras"), pytest.param(pulled_by_crane, id="crane")]


def sha256(content: bytes) -> str:
    """The digest as manifests write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    """The module under test, packaged and pushed."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        dist = tmp_path_factory.mktemp("dist")
        reference = f"{registry.address}/some/aigw-auth:1.2.3"
        package("--module", wasm_path(), "--output", dist, "--push", reference)
        yield Pushed(dist, reference)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pull", TOOLS)
def test_what_is_pulled_is_the_module_byte_for_byte(
    pull: Pull, form: str, pushed: Pushed, tmp_path: Path
) -> None:
    assert pull(pushed, form, tmp_path) == Path(wasm_path()).read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_envoy_loads_what_is_pulled(
    form: str,
    pushed: Pushed,
    tmp_path: Path,
    upstream: Upstream,
    start_envoy: Start,
    client: httpx.Client,
) -> None:
    module = tmp_path / "pulled.wasm"
    module.write_bytes(pulled_by_oras(pushed, form, tmp_path))
    wasm = wasm_filter(config(keyed("up", key="ours")), module=str(module))
    clusters = [cluster("up", [upstream.port], filters=[wasm])]
    envoy = start_envoy(bootstrap([listener([route("/", "up")])], clusters))
    assert client.get(envoy.url("/")).status_code == 200
    assert upstream.requests[0].values("authorization") == [b"Bearer ours"]


def test_the_compat_form_is_one_layer_and_says_what_it_is(pushed: Pushed) -> None:
    manifest = pushed.manifest("compat")
    assert [layer["mediaType"] for layer in manifest["layers"]] == [TAR]
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["annotations"]["module.wasm.image/variant"] == "compat"
    assert json.loads(run("crane", "config", pushed.image("compat")))["os"] == "linux"
    # The digests of the config and of the layers, packed and unpacked, hold.
    run("crane", "validate", "--remote", pushed.image("compat"))


def test_the_artifact_is_the_two_layers_that_loaders_demand(pushed: Pushed) -> None:
    layers = pushed.manifest("artifact")["layers"]
    assert sorted(layer["mediaType"] for layer in layers) == sorted([RAW, RUNTIME])


@pytest.mark.parametrize("form", FORMS)
def test_a_manifest_is_the_one_of_the_layout(form: str, pushed: Pushed) -> None:
    manifest = run("crane", "manifest", pushed.image(form))
    digest = sha256(manifest)
    blob = pushed.dist / "oci/blobs/sha256" / digest.removeprefix("sha256:")
    assert blob.read_bytes() == manifest
    index = json.loads((pushed.dist / "oci/index.json").read_text())
    assert digest in [entry["digest"] for entry in index["manifests"]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "name"), [(SBOM, "aigw_auth.cdx.json"), (PROVENANCE, "aigw_auth.provenance.json")]
)
def test_what_accompanies_the_module_refers_to_the_image(
    kind: str, name: str, form: str, pushed: Pushed, tmp_path: Path
) -> None:
    referrers = pushed.referrers(form)
    assert sorted(referrers) == sorted([SBOM, PROVENANCE])
    repository = pushed.reference.rpartition(":")[0]
    run("oras", "pull", "--output", tmp_path, f"{repository}@{referrers[kind]}")
    assert (tmp_path / name).read_bytes() == (pushed.dist / name).read_bytes()


def test_the_sbom_names_what_is_in_the_module_and_nothing_else(pushed: Pushed) -> None:
    sbom = json.loads((pushed.dist / "aigw_auth.cdx.json").read_text())
    subject = sbom["metadata"]["component"]
    module = hashlib.sha256(Path(wasm_path()).read_bytes()).hexdigest()
    assert subject["hashes"] == [{"alg": "SHA-256", "content": module}]
    names = {one["name"] for one in sbom["components"]}
    assert {"proxy-wasm", "serde_json", "sha2", "rust-std"} < names
    # Of the command line, of the tests, of the compiler.
    assert not names & {"clap", "serde-saphyr", "proptest", "aws-sigv4", "syn", "prost-derive"}
    references = {one["bom-ref"] for one in [subject, *sbom["components"]]}
    for entry in sbom["dependencies"]:
        assert {entry["ref"], *entry.get("dependsOn", [])} <= references


def test_the_provenance_names_the_module_both_images_and_what_they_were_made_from(
    pushed: Pushed,
) -> None:
    statement = json.loads((pushed.dist / "aigw_auth.provenance.json").read_text())
    subjects = {f"sha256:{one['digest']['sha256']}" for one in statement["subject"]}
    images = {sha256(run("crane", "manifest", pushed.image(form))) for form in FORMS}
    assert subjects == {sha256(Path(wasm_path()).read_bytes())} | images
    definition = statement["predicate"]["buildDefinition"]
    # It was built elsewhere: no commit is claimed.
    assert definition["internalParameters"]["builtFromCommit"] is False
    names = {one.get("name") for one in definition["resolvedDependencies"]}
    assert {"Cargo.lock", "rustc"} < names
    assert "source" not in names


def test_the_version_is_one_in_the_manifest_the_log_the_command_line_and_the_image(
    pushed: Pushed, upstream: Upstream, start_envoy: Start
) -> None:
    text = (ROOT / "Cargo.toml").read_text()
    found = re.search(r'^\[package\]\nname = "aigw-auth"\nversion = "([^"]+)"', text, re.MULTILINE)
    assert found
    command = subprocess.run(
        [ROOT / "target/release/aigw-auth", "--version"], check=True, capture_output=True, text=True
    )
    assert command.stdout == f"aigw-auth {found[1]}\n"
    clusters = [cluster("up", [upstream.port], filters=[wasm_filter(config(keyed("up")))])]
    envoy = start_envoy(bootstrap([listener([route("/", "up")])], clusters))
    envoy.wait_for_log(re.escape(f"aigw-auth {found[1]}: "))
    for form in FORMS:
        annotations = pushed.manifest(form)["annotations"]
        assert annotations["org.opencontainers.image.version"] == f"{found[1]}-dirty"


def test_the_checksums_are_those_of_the_files(pushed: Pushed) -> None:
    lines = (pushed.dist / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pushed.dist.iterdir()
        if path.name.startswith("aigw_auth.")
    }


def test_the_same_module_is_packaged_into_the_same_bytes(pushed: Pushed, tmp_path: Path) -> None:
    package("--module", wasm_path(), "--output", tmp_path)

    def files(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): sha256(path.read_bytes())
            for path in folder.rglob("*")
            if path.is_file()
        }

    assert files(tmp_path) == files(pushed.dist)
