"""Each example is deployed as a user would, with real pip, npm and cargo, and called both ways."""

import base64
import io
import json
import shutil
import threading

import pytest
from PIL import Image, ImageDraw

from harness import DEADLINE_S, EXAMPLES, REPOSITORY


@pytest.fixture(scope="session")
def cache(workspace):
    """A build cache of the run's own: what is fetched is really fetched, once."""
    return {"XDG_CACHE_HOME": str(workspace / "cache")}


@pytest.fixture
def deploy(platform, folder, name, cache):
    """Copies an example, deploys the copy under a fresh name, and returns that name."""

    def deploy(example):
        copy = folder / example
        ignored = shutil.ignore_patterns("node_modules", "target", "__pycache__")
        shutil.copytree(EXAMPLES / example, copy, ignore=ignored)
        before = {path.relative_to(copy) for path in copy.rglob("*")}
        platform.updraft("deploy", copy, "--name", name, environment=cache)
        added = {path.relative_to(copy) for path in copy.rglob("*")} - before
        assert not {path for path in added if path.parts[0] not in ("target", "node_modules")}, "deploying leaves files"
        return name

    return deploy


def test_hello(platform, deploy):
    hello = deploy("hello")
    assert platform.invoke(hello, {"name": "Ada"}).expect_ok() == {"message": "Hello, Ada!"}
    status, headers, body = platform.request("GET", f"/fn/{hello}/?name=Grace")
    assert (status, headers["content-type"], json.loads(body)) == (200, "application/json", {"message": "Hello, Grace!"})
    assert "greeting Grace" in platform.updraft("logs", hello).stdout


def photo(width, height, orientation):
    """A picture as a camera makes it: shades, shapes and noise, JPEG, with an EXIF orientation."""
    shades = Image.linear_gradient("L").resize((width, height))
    noise = Image.effect_noise((width, height), 30)
    image = Image.merge("RGB", [shades, noise, shades.transpose(Image.Transpose.ROTATE_180)])
    draw = ImageDraw.Draw(image)
    draw.ellipse([width // 3, height // 3, width // 2, height // 2], fill=(250, 220, 40))
    # The corner that is at the top left of the stored picture is red.
    draw.rectangle([0, 0, width // 4, height // 4], fill=(255, 0, 0))
    exif = image.getexif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92, exif=exif)
    return out.getvalue()


def test_thumbnail(platform, deploy):
    thumbnail = deploy("thumbnail")
    # Orientation 6: the camera was held so that the stored picture has to be turned a quarter clockwise.
    picture = photo(2400, 1600, 6)
    status, headers, body = platform.request(
        "POST", f"/fn/{thumbnail}/?size=300", body=picture, headers={"content-type": "image/jpeg"}
    )
    assert (status, headers["content-type"]) == (200, "image/jpeg"), body
    small = Image.open(io.BytesIO(body))
    assert (small.format, small.size) == ("JPEG", (200, 300))
    red, green, blue = small.getpixel((190, 10))
    assert red > 200 and green < 60 and blue < 60, "the red corner is at the top right once upright"
    assert len(body) < len(picture) / 10

    event = {"image": base64.b64encode(photo(800, 600, 1)).decode(), "size": 100}
    made = platform.invoke(thumbnail, event).expect_ok()
    assert (made["width"], made["height"]) == (100, 75)
    assert Image.open(io.BytesIO(base64.b64decode(made["image"]))).size == (100, 75)

    status, _, body = platform.request(
        "POST", f"/fn/{thumbnail}/", body=b"no picture", headers={"content-type": "image/jpeg"}
    )
    assert (status, json.loads(body)) == (400, {"error": "this is not a picture that can be read"})


def test_api(platform, deploy):
    api = deploy("api")
    status, _, body = platform.request("GET", f"/fn/{api}/convert?value=42.195&from=km&to=mi")
    assert status == 200, (body, platform.updraft("logs", api).stdout)
    assert json.loads(body)["result"] == 26.2187574565
    body = json.dumps([{"value": 1, "from": "kg", "to": "g"}, {"value": 12, "from": "in", "to": "ft"}])
    status, _, body = platform.request(
        "POST", f"/fn/{api}/conversions", body=body, headers={"content-type": "application/json"}
    )
    assert (status, [one["result"] for one in json.loads(body)]) == (201, [1000, 1])
    assert platform.request("GET", f"/fn/{api}/convert?value=1&from=km&to=kg")[0] == 400
    assert platform.request("GET", f"/fn/{api}/nothing/here")[0] == 404
    event = {
        "version": "2.0",
        "rawPath": "/units",
        "rawQueryString": "",
        "headers": {"host": "example.org"},
        "requestContext": {"http": {"method": "GET", "path": "/units"}, "domainName": "example.org"},
        "isBase64Encoded": False,
    }
    answer = platform.invoke(api, event).expect_ok()
    assert answer["statusCode"] == 200
    assert "km" in json.loads(answer["body"])["length"]


@pytest.mark.slow
def test_words(platform, deploy, cache):
    # Compiling is the long part; the folder is one of the repository's own, so a second run is quick.
    cache |= {"CARGO_TARGET_DIR": str(REPOSITORY / "target/words")}
    words = deploy("words")
    counted = platform.invoke(words, {"text": "To be, or not to be: that is the question.", "top": 2}).expect_ok()
    assert counted == {
        "words": 10,
        "different": 8,
        "top": [{"word": "be", "count": 2}, {"word": "to", "count": 2}],
    }
    status, _, body = platform.request(
        "POST", f"/fn/{words}/?top=1", body="ünü ünü x".encode(), headers={"content-type": "text/plain; charset=utf-8"}
    )
    assert (status, json.loads(body)["top"]) == (200, [{"word": "ünü", "count": 2}])
    failed = platform.invoke(words, {"no": "text"})
    assert failed.error == "Unhandled"
    assert failed.value["errorMessage"] == "the event must have a text"
    assert platform.invoke(words, {"text": "still here"}).expect_ok()["words"] == 2


def test_edge(platform, deploy):
    edge = deploy("edge")
    answer = platform.invoke(edge, {"name": "Ada"})
    assert answer.error is None
    assert answer.text
    status, _, body = platform.request("GET", f"/fn/{edge}/")
    assert status == 200
    assert body


def test_site(platform, deploy):
    site = deploy("site")
    base = f"/fn/{site}"
    status, headers, body = platform.request("GET", f"{base}/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"A site on Updraft" in body
    assert platform.request("GET", f"{base}/style.css")[1]["content-type"] == "text/css; charset=utf-8"
    assert platform.request("GET", f"{base}/missing")[0] == 404

    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(platform.request("GET", f"{base}/together?n=5")[2]))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert answers == [b"5 together\n"] * 5, "one instance takes many requests at once"

    events = platform.request("GET", f"{base}/clock?ticks=3")[2].decode()
    ticks = [json.loads(line.removeprefix("data: "))["tick"] for line in events.splitlines() if line]
    assert ticks == [1, 2, 3]

    # The answer to the first half arrives before the second half is sent.
    with platform.socket() as connection:
        connection.sendall(f"POST {base}/upper HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        connection.sendall(b"6\r\nfirst \r\n")
        received = b""
        while b"FIRST " not in received:
            piece = connection.recv(4096)
            assert piece, received
            received += piece
        connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
        while b"SECOND" not in received:
            piece = connection.recv(4096)
            assert piece, received
            received += piece


def test_a_build_that_fails_shows_the_tools_own_error(platform, folder, cache):
    (folder / "app.py").write_text("def handler(event, context): return 1\n")
    (folder / "requirements.txt").write_text("no valid requirement at all !!\n")
    failed = platform.updraft("deploy", folder, "--name", "never-built", check=False, environment=cache)
    assert failed.returncode == 5
    assert "Invalid requirement" in failed.stderr or "invalid requirement" in failed.stderr.lower()
    (folder / "requirements.txt").unlink()
    (folder / "app.py").unlink()
    (folder / "src").mkdir()
    (folder / "src/main.rs").write_text("fn main() { let x: u32 = \"text\"; }\n")
    (folder / "Cargo.toml").write_text('[package]\nname = "broken"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n')
    failed = platform.updraft("deploy", folder, "--name", "never-built", check=False, environment=cache)
    assert failed.returncode == 5
    assert "mismatched types" in failed.stderr
    assert "never-built" not in platform.updraft("ls").stdout
