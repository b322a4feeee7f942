"""Compiles the modules below a directory ahead of their first import; the platform writes the results beside them.

Runs in a sandbox of its own, because the parser meets bytes that nobody vouches for. Compiling executes nothing of them.
Each result leaves on standard output as two lengths, the module's path below the directory, and the file's content.
Files are never checked against their sources, which cannot change where they lie.
"""

import os
import struct
import sys
from _frozen_importlib_external import _code_to_hash_pyc

ROOT = sys.argv[1]
SOURCE_BYTES_MAX = 2 * 1024 * 1024

# Warnings about the modules are nobody's business here.
results = os.fdopen(os.dup(1), "wb")
null = os.open("/dev/null", os.O_WRONLY)
os.dup2(null, 1)
os.dup2(null, 2)

for directory, directories, names in os.walk(ROOT):
    # What lies high is imported first.
    directories[:] = sorted(name for name in directories if name != "__pycache__")
    for name in sorted(names):
        path = os.path.join(directory, name)
        cached = os.path.join(directory, "__pycache__", "%s.%s.pyc" % (name[:-3], sys.implementation.cache_tag))
        if not name.endswith(".py") or os.path.islink(path) or os.path.lexists(cached):
            continue
        try:
            with open(path, "rb") as file:
                source = file.read(SOURCE_BYTES_MAX + 1)
            if len(source) > SOURCE_BYTES_MAX:
                continue
            content = _code_to_hash_pyc(compile(source, path, "exec", dont_inherit=True), bytes(8), False)
            shown = os.fsencode(os.path.relpath(path, ROOT))
        except Exception:
            continue  # Whoever imports it is told what is wrong with it.
        results.write(struct.pack(">II", len(shown), len(content)) + shown + content)
        results.flush()
