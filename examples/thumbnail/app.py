"""Makes a JPEG thumbnail of a picture, upright whichever way the camera was held.

Visited at its URL, it takes the picture as the request's body and answers with the thumbnail itself. Invoked with an
event, it takes `{"image": base64, "size": 256}` and returns `{"image": base64, "width": …, "height": …}`.
"""

import base64
import io
import json

from PIL import Image, ImageOps

SIZE_DEFAULT = 256
SIZE_MAX = 2048
# A small file can unpack to a huge picture; past this many pixels Pillow refuses before decoding.
Image.MAX_IMAGE_PIXELS = 50_000_000


class BadRequest(Exception):
    """The caller's mistake, in words for the caller."""


def handler(event, context):
    if "requestContext" not in event:
        thumbnail, (width, height) = make_thumbnail(decode(event.get("image")), event.get("size"))
        return {"image": base64.b64encode(thumbnail).decode(), "width": width, "height": height}
    try:
        body = event.get("body") or ""
        picture = decode(body) if event.get("isBase64Encoded") else body.encode()
        size = (event.get("queryStringParameters") or {}).get("size")
        thumbnail, (width, height) = make_thumbnail(picture, size)
    except BadRequest as error:
        return {
            "statusCode": 400,
            "headers": {"content-type": "application/json"},
            "body": json.dumps({"error": str(error)}),
        }
    return {
        "statusCode": 200,
        "headers": {"content-type": "image/jpeg", "x-thumbnail-size": f"{width}x{height}"},
        "isBase64Encoded": True,
        "body": base64.b64encode(thumbnail).decode(),
    }


def decode(text):
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise BadRequest("the picture must be given in base64") from None


def make_thumbnail(picture, size):
    """The JPEG of `picture` fitted into a square of `size` pixels, and its width and height."""
    try:
        size = int(size or SIZE_DEFAULT)
    except (TypeError, ValueError):
        raise BadRequest("size must be a whole number of pixels") from None
    if not 1 <= size <= SIZE_MAX:
        raise BadRequest(f"size must be from 1 to {SIZE_MAX} pixels")
    try:
        with Image.open(io.BytesIO(picture)) as image:
            # Has a JPEG decoded at a fraction of its size where that is enough for the thumbnail.
            image.draft("RGB", (size * 2, size * 2))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError:
        raise BadRequest(f"the picture has more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError):
        raise BadRequest("this is not a picture that can be read") from None
    upright.thumbnail((size, size))
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=85, optimize=True)
    return out.getvalue(), upright.size
