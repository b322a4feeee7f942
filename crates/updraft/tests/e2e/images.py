"""Makes container images without any tool for that: layers, OCI layouts, archives of `docker save`, and a registry.

A layer is a tar of what a dictionary says: bytes, a file of this machine, `Link("target")`, `Folder()`, or `Device()`.
"""

import gzip
import hashlib
import http.server
import io
import json
import pathlib
import subprocess
import sys
import sysconfig
import tarfile
import threading

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

# A runtime for Lambda in one static program: it answers what it was asked, and what it sees of its sandbox. Among the
# extensions it is one.
BOOTSTRAP = r"""
#include <arpa/inet.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 20];

static int ask(const char *request, const char *body) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64] = {0};
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    const char *colon = strchr(api, ':');
    memcpy(host, api, colon - api);
    inet_pton(AF_INET, host, &address.sin_addr);
    address.sin_port = htons(atoi(colon + 1));
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (void *)&address, sizeof address)) { perror("connect"); exit(1); }
    if (write(connection, request, strlen(request)) < 0 || write(connection, body, strlen(body)) < 0) exit(1);
    size_t length = 0;
    for (;;) {
        ssize_t count = read(connection, buffer + length, sizeof buffer - 1 - length);
        if (count <= 0) break;
        length += count;
        buffer[length] = 0;
        char *end = strstr(buffer, "\r\n\r\n"), *size = strcasestr(buffer, "content-length:");
        if (end && size && length >= (end + 4 - buffer) + strtoul(size + 15, 0, 10)) break;
    }
    close(connection);
    return length;
}

static void entries(char *out, const char *path) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    *out = 0;
    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.') { strcat(out, entry->d_name); strcat(out, " "); }
    if (folder) closedir(folder);
}

static int extend(void) {
    static char request[1024];
    const char *events = "{\"events\":[\"INVOKE\"]}";
    snprintf(request, sizeof request,
        "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\nLambda-Extension-Name: beside\r\n"
        "Content-Length: %zu\r\n\r\n", strlen(events));
    ask(request, events);
    char id[64] = {0}, *found = strcasestr(buffer, "lambda-extension-identifier:");
    if (!found) return 1;
    sscanf(found + 28, " %63[^\r\n]", id);
    printf("extension up\n");
    fflush(stdout);
    snprintf(request, sizeof request,
        "GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: x\r\nLambda-Extension-Identifier: %s\r\n\r\n", id);
    for (;;) ask(request, "");
}

int main(int count, char **words) {
    if (strstr(words[0], "/extensions/")) return extend();
    char directory[512], root[2048], handler[256] = "", data[256] = "", arguments[1024] = "";
    if (!getcwd(directory, sizeof directory)) return 1;
    for (int i = 1; i < count; i++) { strcat(arguments, words[i]); strcat(arguments, " "); }
    entries(root, "/");
    FILE *file = fopen("/srv/data", "r");
    if (file) { if (!fgets(data, sizeof data, file)) data[0] = 0; fclose(file); }
    int writes = fopen("/srv/other", "w") != 0, tmp = fopen("/tmp/x", "w") != 0;
    printf("image runtime up\n");
    fflush(stdout);
    for (;;) {
        ask("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n", "");
        char id[64] = {0}, *found = strcasestr(buffer, "lambda-runtime-aws-request-id:");
        if (!found) return 1;
        sscanf(found + 30, " %63[^\r\n]", id);
        char *event = strstr(buffer, "\r\n\r\n") + 4;
        static char body[1 << 19], request[1024];
        snprintf(body, sizeof body,
            "{\"event\":%s,\"arguments\":\"%s\",\"directory\":\"%s\",\"root\":\"%s\",\"data\":\"%s\",\"mode\":\"%s\","
            "\"handler\":\"%s\",\"uid\":%d,\"writes\":%d,\"tmp\":%d}",
            event, arguments, directory, root, data, getenv("MODE") ? getenv("MODE") : "",
            getenv("_HANDLER") ? getenv("_HANDLER") : handler, getuid(), writes, tmp);
        snprintf(request, sizeof request,
            "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", id, strlen(body));
        ask(request, body);
    }
}
"""


def bootstrap(folder):
    """The static program above."""
    source, program = folder / "bootstrap.c", folder / "bootstrap"
    source.write_text(BOOTSTRAP)
    subprocess.run(["cc", "-static", "-O1", "-w", "-D_GNU_SOURCE", "-o", str(program), str(source)], check=True)
    return program.read_bytes()


class Link(str):
    """A symbolic link to this target."""


class Folder:
    """An empty folder."""


class Device:
    """A character device."""


def layer(files):
    """A tar, always the same for the same content. Programs are what begins as one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mtime = 1_700_000_000
            if isinstance(content, Link):
                entry.type, entry.linkname = tarfile.SYMTYPE, str(content)
                tar.addfile(entry)
            elif isinstance(content, (Folder, Device)):
                entry.type = tarfile.DIRTYPE if isinstance(content, Folder) else tarfile.CHRTYPE
                entry.mode, entry.devmajor, entry.devminor = 0o755, 1, 1
                tar.addfile(entry)
            else:
                if isinstance(content, pathlib.Path):
                    entry.mtime, content = int(content.stat().st_mtime), content.read_bytes()
                content = content.encode() if isinstance(content, str) else content
                entry.mode = 0o755 if content[:4] == b"\x7fELF" or content[:2] == b"#!" else 0o600
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Image:
    """One image: layers as they will be kept, and what its configuration says."""

    def __init__(self, layers, config, *, architecture="amd64", packed="tar"):
        self.tars = layers
        self.packed = {"tar": layers, "gzip": [gzip.compress(one, 1, mtime=0) for one in layers]}[packed]
        self.suffix = {"tar": "", "gzip": "+gzip"}[packed]
        self.config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
            }
        ).encode()

    @property
    def manifest(self):
        described = [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar" + self.suffix, "digest": digest(one), "size": len(one)}
            for one in self.packed
        ]
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(self.config),
            "size": len(self.config),
        }
        return json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": described}
        ).encode()

    def blobs(self):
        return {digest(one): one for one in [self.manifest, self.config, *self.packed]}

    def entry(self, **more):
        """Its descriptor in an index."""
        manifest = self.manifest
        return {"mediaType": OCI_MANIFEST, "digest": digest(manifest), "size": len(manifest)} | more

    def layout(self, folder, tag="latest"):
        """An OCI layout in a folder."""
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        entry = self.entry(annotations={"org.opencontainers.image.ref.name": tag})
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        for name, content in self.blobs().items():
            (folder / "blobs/sha256" / name.removeprefix("sha256:")).write_bytes(content)
        return folder

    def docker_archive(self, path, tags=("app:latest",)):
        """What `docker save` wrote before it wrote layouts."""
        names = [f"{digest(one)[7:]}/layer.tar" for one in self.tars]
        saved = [{"Config": "config.json", "RepoTags": list(tags), "Layers": names}]
        files = {"config.json": self.config, "manifest.json": json.dumps(saved)}
        path.write_bytes(layer(files | dict(zip(names, self.tars))))
        return path


def python_files(sources, packages):
    """This machine's Python as files of an image: the interpreter, its libraries, and what `packages` names."""
    executable = pathlib.Path(sys.executable).resolve()
    stdlib = pathlib.Path(sysconfig.get_paths()["stdlib"])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    left_out = {"test", "idlelib", "tkinter", "ensurepip", "site-packages", "__pycache__", "lib2to3", "turtledemo"}
    left_out |= {"pydoc_data", "unittest", "distutils", "curses", "sqlite3", "wsgiref", "xmlrpc", "dbm"}
    files = {"usr/local/bin/python3": executable}
    for path in sorted(stdlib.rglob("*")):
        parts = path.relative_to(stdlib).parts
        if path.is_file() and not left_out & set(parts) and not parts[0].startswith("config-") and path.suffix != ".a":
            files[f"usr/local/lib/{version}/{'/'.join(parts)}"] = path
    site = pathlib.Path(sysconfig.get_paths()["purelib"])
    found = [path for name in packages for path in sorted(site.glob(name)) + sorted(site.glob(f"{name}/**/*"))]
    for path in found:
        if path.is_file() and "__pycache__" not in path.parts:
            files[f"var/task/{path.relative_to(site)}"] = path
    shared = [executable, *(path for path in files.values() if isinstance(path, pathlib.Path) and ".so" in path.name)]
    listed = subprocess.run(["ldd", *map(str, shared)], capture_output=True, text=True).stdout
    for word in set(listed.split()):
        if word.startswith("/") and not word.endswith(":") and pathlib.Path(word).is_file():
            files[word.lstrip("/")] = pathlib.Path(word).resolve()
    return files | {f"var/task/{name}": text for name, text in sources.items()}


class Registry:
    """A small registry on the loopback: manifests by tag and digest, blobs by digest, and a note of what was asked."""

    def __init__(self, token=None):
        self.manifests, self.blobs, self.asked, self.token = {}, {}, [], token
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                registry.asked.append(self.path)
                if self.path.startswith("/token"):
                    return self.answer(200, json.dumps({"token": registry.token}).encode(), "application/json")
                if registry.token and self.headers.get("authorization") != f"Bearer {registry.token}":
                    where = f'Bearer realm="{registry.url}/token",service="test"'
                    return self.answer(401, b"{}", "application/json", **{"WWW-Authenticate": where})
                if self.path in ("/v2/", "/v2"):
                    return self.answer(200, b"{}", "application/json")
                _, kind, name = self.path.rsplit("/", 2)
                known = registry.manifests if kind == "manifests" else registry.blobs
                if name not in known:
                    return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"}]}', "application/json")
                media_type, content = known[name]
                self.answer(200, content, media_type, **{"Docker-Content-Digest": digest(content)})

            do_HEAD = do_GET

            def answer(self, status, content, media_type, **headers):
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def push(self, image, tag=None):
        blobs = image.blobs()
        manifest = image.manifest
        self.blobs |= {name: ("application/octet-stream", content) for name, content in blobs.items()}
        for name in filter(None, [tag, digest(manifest)]):
            self.manifests[name] = (OCI_MANIFEST, manifest)

    def push_index(self, images, tag):
        """Images by their platform, such as `linux/amd64`."""
        entries = []
        for platform, image in images.items():
            self.push(image)
            os_name, architecture = platform.split("/")
            entries.append(image.entry(platform={"os": os_name, "architecture": architecture}))
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        self.manifests[tag] = self.manifests[digest(index)] = (OCI_INDEX, index)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
