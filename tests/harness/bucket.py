"""An S3 server with buckets: moto, which keeps objects in memory and speaks as Amazon's does."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config

from .wait import wait_for


@contextmanager
def serve(*buckets: str) -> Iterator[str]:
    """Runs a server. Yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for("the S3 server", answers)
        for name in buckets:
            client(f"http://127.0.0.1:{port}").create_bucket(Bucket=name)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def client(url: str):  # type: ignore[no-untyped-def]
    settings = Config(s3={"addressing_style": "path"}, proxies={})
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret", config=settings)


def credentials(directory: Path) -> Path:
    """Writes a file of credentials as Amazon's tools have it."""
    path = directory / "s3-credentials"
    path.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    return path
