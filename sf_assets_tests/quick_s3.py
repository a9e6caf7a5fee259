"""An S3 in memory that answers at once, counts what it is asked, and fails on request.

    python -m sf_assets_tests.quick_s3 PORT

`GET /-/counts` tells requests by kind, bytes in and out; each answer resets them. `POST /-/faults`
takes a JSON object: `slow_down`, `hang`, `lose` are shares of requests that get 503 SlowDown, no
answer for `hang_seconds`, or (writes alone) a cut connection, in turn before and after they are
done; `writes_fail` refuses all writes. What it has in common with moto's server is in
scale/test_quick_s3.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from collections import Counter
from datetime import datetime, timezone
from email.utils import format_datetime
from itertools import count
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_WRITES = ("PUT", "POST", "DELETE")


class Held:
    """An object."""

    def __init__(self, *parts: bytes) -> None:
        self.body, self.at = b"".join(parts), datetime.now(timezone.utc).replace(microsecond=0)
        digests = [hashlib.md5(part) for part in parts]
        whole = hashlib.md5(b"".join(one.digest() for one in digests)).hexdigest()
        self.etag = f'"{whole}-{len(parts)}"' if len(parts) > 1 else f'"{digests[0].hexdigest()}"'


class QuickS3:
    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, Held]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.counts: Counter[str] = Counter()
        self.faults: dict[str, float] = {}
        self.numbers, self.lost = count(1), count()
        self.random = random.Random(22)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/-/"):
            return await self._own(request)
        body = _plain(request, await request.read())
        kind = self._kind(request)
        self.counts[kind] += 1
        self.counts["bytes in"] += len(body)
        cut = False
        if self.faults:
            if request.method in _WRITES and self.faults.get("writes_fail"):
                return self._error(503, "SlowDown", "Please reduce your request rate.")
            if self.random.random() < self.faults.get("slow_down", 0):
                return self._error(503, "SlowDown", "Please reduce your request rate.")
            if self.random.random() < self.faults.get("hang", 0):
                self.counts["faults"] += 1
                await asyncio.sleep(self.faults["hang_seconds"])
                return web.Response(status=500)
            if request.method in _WRITES and self.random.random() < self.faults.get("lose", 0):
                cut = next(self.lost) % 2 == 1
                if not cut:
                    return self._cut(request)
        made = self._do(request, body)
        self.counts["bytes out"] += len(made.body) if isinstance(made.body, bytes) else 0
        return self._cut(request) if cut else made

    async def _own(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            self.faults = await request.json()
            return web.json_response({})
        told = dict(self.counts)
        self.counts.clear()
        return web.json_response(told)

    def _cut(self, request: web.Request) -> web.Response:
        self.counts["faults"] += 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=500)

    def _kind(self, request: web.Request) -> str:
        query = request.query
        if request.method == "GET" and "list-type" in query:
            return "LIST"
        if request.method == "POST" and "delete" in query:
            return "DELETE"
        return request.method

    def _error(self, status: int, code: str, message: str, **more: str) -> web.Response:
        self.counts["faults"] += status >= 500
        said = "".join(f"<{name}>{escape(one)}</{name}>" for name, one in more.items())
        text = f"<Error><Code>{code}</Code><Message>{message}</Message>{said}</Error>"
        return _xml(text, status)

    def _do(self, request: web.Request, body: bytes) -> web.Response:
        _, bucket, *rest = request.path.split("/", 2)
        key = rest[0] if rest else ""
        if not key and request.method == "PUT":
            self.buckets.setdefault(bucket, {})
            return web.Response()
        held = self.buckets.get(bucket)
        if held is None:
            return self._error(404, "NoSuchBucket", "The specified bucket does not exist")
        if not key:
            if request.method == "POST":
                return self._delete(held, body)
            return self._list(bucket, held, request) if request.method == "GET" else web.Response()
        if request.method == "PUT":
            return self._put(held, key, request, body)
        if request.method == "POST":
            return self._upload(bucket, held, key, request, body)
        if request.method == "DELETE":
            held.pop(key, None)
            return web.Response(status=204)
        return self._get(held, key, request)

    def _put(self, held: dict[str, Held], key: str, request: web.Request, body: bytes) -> Any:
        if "uploadId" in request.query:
            self.uploads[request.query["uploadId"]][int(request.query["partNumber"])] = body
            return web.Response(headers={"ETag": Held(body).etag})
        if request.headers.get("If-None-Match") == "*" and key in held:
            said = "At least one of the pre-conditions you specified did not hold"
            return self._error(412, "PreconditionFailed", said, Condition="If-None-Match")
        match = request.headers.get("If-Match")
        if match is not None and key not in held:
            return self._error(404, "NoSuchKey", "The specified key does not exist.")
        if match is not None and match.strip('"') != held[key].etag.strip('"'):
            said = "At least one of the pre-conditions you specified did not hold"
            return self._error(412, "PreconditionFailed", said, Condition="If-Match")
        held[key] = Held(body)
        return web.Response(headers={"ETag": held[key].etag})

    def _upload(
        self, bucket: str, held: dict[str, Held], key: str, request: web.Request, body: bytes
    ) -> web.Response:
        if "uploads" in request.query:
            upload = f"upload{next(self.numbers)}"
            self.uploads[upload] = {}
            return _xml(
                f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key>"
                f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        # A second completion of the same upload is answered as the first one was.
        parts = self.uploads[request.query["uploadId"]]
        held[key] = Held(*(parts[one] for one in sorted(parts)))
        return _xml(
            f"<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key>"
            f"<ETag>{escape(held[key].etag)}</ETag></CompleteMultipartUploadResult>"
        )

    def _get(self, held: dict[str, Held], key: str, request: web.Request) -> web.Response:
        one = held.get(key)
        if one is None:
            if request.method == "HEAD":
                return web.Response(status=404)
            return self._error(404, "NoSuchKey", "The specified key does not exist.")
        headers = {
            "ETag": one.etag, "Last-Modified": format_datetime(one.at, usegmt=True),
            "Accept-Ranges": "bytes",
        }  # fmt: skip
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(one.body))})
        asked = request.headers.get("Range", "")
        if asked.startswith("bytes="):
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            size = len(one.body)
            first = int(begin) if begin else max(0, size - int(end))
            last = min(size - 1, int(end)) if begin and end else size - 1
            if first >= size:
                return self._error(416, "InvalidRange", "The requested range is not satisfiable")
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            return web.Response(status=206, body=one.body[first : last + 1], headers=headers)
        return web.Response(body=one.body, headers=headers)

    def _list(self, bucket: str, held: dict[str, Held], request: web.Request) -> web.Response:
        query = request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("start-after", ""))
        most = int(query.get("max-keys", 1000))
        named = quote if query.get("encoding-type") == "url" else escape
        found: dict[str, Held | None] = {}
        for key in sorted(held):
            if key.startswith(prefix):
                rest = key[len(prefix) :]
                if delimiter and delimiter in rest:
                    found[prefix + rest.split(delimiter, 1)[0] + delimiter] = None
                else:
                    found[key] = held[key]
        names = [name for name in sorted(found) if name > after]
        more = len(names) > most
        lines = [f"<Name>{bucket}</Name><Prefix>{named(prefix)}</Prefix>"]
        if named is quote:
            lines.append("<EncodingType>url</EncodingType>")
        lines.append(f"<KeyCount>{min(most, len(names))}</KeyCount><MaxKeys>{most}</MaxKeys>")
        lines.append(f"<IsTruncated>{str(more).lower()}</IsTruncated>")
        if more:
            token = escape(names[most - 1])
            lines.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
        for name in names[:most]:
            one = found[name]
            lines.append(
                f"<CommonPrefixes><Prefix>{named(name)}</Prefix></CommonPrefixes>"
                if one is None
                else f"<Contents><Key>{named(name)}</Key>"
                f"<LastModified>{one.at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
                f"<ETag>{escape(one.etag)}</ETag><Size>{len(one.body)}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
        return _xml(f"<ListBucketResult>{''.join(lines)}</ListBucketResult>")

    def _delete(self, held: dict[str, Held], body: bytes) -> web.Response:
        gone = [one.text or "" for one in ElementTree.fromstring(body).iter() if _is_key(one.tag)]
        for key in gone:
            held.pop(key, None)
        said = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in gone)
        return _xml(f"<DeleteResult>{said}</DeleteResult>")


def _is_key(tag: str) -> bool:
    return tag.rsplit("}", 1)[-1] == "Key"


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=_XML + text, content_type="application/xml")


def _plain(request: web.Request, body: bytes) -> bytes:
    """A body without the frames of `aws-chunked`."""
    if "aws-chunked" not in request.headers.get("Content-Encoding", ""):
        return body
    made = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            break
        made, body = made + body[:length], body[length + 2 :]
    return made


def main(port: int) -> None:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", QuickS3().answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def told(port: int, faults: dict[str, float] | None = None) -> dict[str, int]:
    """What was counted since the last time; with `faults`, these hold from now on."""
    from urllib.request import Request, urlopen

    base = f"http://127.0.0.1:{port}/-/"
    if faults is not None:
        body = json.dumps(faults).encode()
        head = {"Content-Type": "application/json"}
        with urlopen(Request(f"{base}faults", body, head)) as answer:
            answer.read()
    with urlopen(f"{base}counts") as answer:
        return {name: int(value) for name, value in json.load(answer).items()}


if __name__ == "__main__":
    main(int(sys.argv[1]))
