"""The quick S3 of tests and benchmarks answers as that of moto does, to all that is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest

from sf_assets.warehouse.lake import load_extension

from ..components import ObjectStore, object_store

pytestmark = pytest.mark.scale
Session = pytest.importorskip("botocore.session").Session
ClientError = pytest.importorskip("botocore.exceptions").ClientError


@pytest.fixture(scope="module")
def moto() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


def _client(store: ObjectStore) -> Any:
    return Session().create_client(
        "s3",
        endpoint_url=store.environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )


def _refused(ask: Callable[..., Any], **named: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as refused:
        ask(**named)
    said = refused.value.response
    status = said["ResponseMetadata"]["HTTPStatusCode"]
    return status, said["Error"]["Code"], said["Error"].get("Condition", "")


def _answers(store: ObjectStore) -> list[Any]:
    """What an S3 answers to all kinds of questions."""
    bucket = store.bucket().split("/")[2]
    s3, own = _client(store), {"Bucket": bucket}
    told: list[Any] = []

    def listed(**how: Any) -> None:
        token: dict[str, str] = {}
        while True:
            page = s3.list_objects_v2(**own, **how, **token)
            objects = [(o["Key"], o["Size"], o["ETag"]) for o in page.get("Contents", ())]
            folders = [one["Prefix"] for one in page.get("CommonPrefixes", ())]
            told.append((objects, folders, page["IsTruncated"]))
            if not page["IsTruncated"]:
                break
            token = {"ContinuationToken": page["NextContinuationToken"]}

    names = ["a/b.jsonl.open/00000001", "a/b.jsonl.open/00000002", "a/b.jsonl.zst", "a/é &+ c", "z"]
    for number, name in enumerate(names):
        told.append(s3.put_object(**own, Key=name, Body=b"x" * number, IfNoneMatch="*")["ETag"])
    told.append(_refused(s3.put_object, **own, Key="z", Body=b"other", IfNoneMatch="*"))
    told.append(s3.put_object(**own, Key="z", Body=b"012345678")["ETag"])
    told.append(_refused(s3.put_object, **own, Key="z", Body=b"other", IfMatch='"0"'))
    told.append(s3.put_object(**own, Key="z", Body=b"0123456789", IfMatch=told[-2])["ETag"])
    told.append(_refused(s3.put_object, **own, Key="not there", Body=b"", IfMatch=told[-1])[:2])
    for asked in ("bytes=2-4", "bytes=7-", "bytes=-3", "bytes=8-99"):
        part = s3.get_object(**own, Key="z", Range=asked)
        told.append((part["Body"].read(), part["ContentRange"], part["ContentLength"]))
    told.append(_refused(s3.get_object, **own, Key="z", Range="bytes=10-"))
    told.append(_refused(s3.get_object, **own, Key="not there"))
    told.append(_refused(s3.head_object, **own, Key="not there")[0])
    for name in ("z", names[0]):
        head = s3.head_object(**own, Key=name)
        told.append((head["ContentLength"], head["ETag"]))
    listed()
    listed(Prefix="a/", MaxKeys=2)
    listed(Prefix="a/", Delimiter="/", MaxKeys=2)
    listed(Delimiter="/")
    upload = s3.create_multipart_upload(**own, Key="parts")["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(
                **own, Key="parts", UploadId=upload, PartNumber=number, Body=body
            )["ETag"],
        }
        for number, body in ((1, b"p" * (5 << 20)), (2, b"q"))
    ]
    made = s3.complete_multipart_upload(
        **own, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    told.append((made["ETag"], s3.get_object(**own, Key="parts", Range="bytes=-2")["Body"].read()))
    gone = [{"Key": name} for name in (*names[:2], "never there")]
    told.append(s3.delete_objects(**own, Delete={"Objects": gone})["Deleted"])
    s3.delete_object(**own, Key="z")
    listed()
    con = duckdb.connect()
    load_extension(con, "httpfs")
    host = store.environment["AWS_ENDPOINT_URL"].removeprefix("http://")
    con.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID 'key', SECRET 'secret', ENDPOINT '{host}', "
        "URL_STYLE 'path', USE_SSL false)"
    )
    con.execute(f"COPY (SELECT i FROM range(9) AS t(i)) TO 's3://{bucket}/lake/t.parquet'")
    query = f"SELECT count(*), sum(i) FROM read_parquet('s3://{bucket}/lake/*.parquet')"
    return [*told, con.execute(query).fetchall()]


def test_it_answers_as_motos_server_does(store: ObjectStore, moto: ObjectStore) -> None:
    assert _answers(store) == _answers(moto)
