"""What `deploy/` gives to people who run it as a service: the unit of systemd, a proxy's rules."""

from __future__ import annotations

import base64
import getpass
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sf_assets.settings import VARIABLES
from sf_assets_tests.cli.test_ui import JSON, LINK, MUTATION, SERVED, UPGRADE, ask, serving

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
UNIT = (DEPLOY / "sf-assets.service").read_text(encoding="utf-8")
NAME = "ui.example.org"
ORIGIN = {"origin": f"https://{NAME}"}
OTHER = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    command = "/opt/sf_assets/.venv/bin/sf-assets"
    assert f"ExecStart={command} up" in UNIT
    unit = tmp_path / "sf-assets.service"
    # It looks for the program, which is not installed there.
    unit.write_text(UNIT.replace(command, "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_starts_again_after_a_failure_and_leaves_nothing_behind() -> None:
    said = dict(line.split("=", 1) for line in UNIT.splitlines() if re.match(r"[A-Za-z]+=", line))
    assert said["Restart"] == "on-failure"
    assert said["KillMode"] == "control-group"
    variable, home = said["Environment"].split("=")
    assert variable == VARIABLES["home"]
    assert home.startswith(f"/var/lib/{said['StateDirectory']}")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """nginx with the rules of `deploy/nginx.conf`, without TLS, before a webserver."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "htpasswd").write_text("me:{PLAIN}hush\n", encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with serving(SERVED) as webserver:
        rules = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
        for ours, tests in (
            (r"listen 443 ssl", f"listen 127.0.0.1:{port}"),
            (r"ssl_reject_handshake on;", "return 421;"),
            (r"ssl_certificate.*", ""),
            (r"/etc/nginx/dagster.htpasswd", f"{folder}/htpasswd"),
            (r"127\.0\.0\.1:3000", f"127.0.0.1:{webserver}"),
        ):
            rules, replaced = re.subn(ours, tests, rules)
            assert replaced, ours
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        conf = folder / "nginx.conf"
        conf.write_text(
            f"user {getpass.getuser()}; daemon off; pid {folder}/pid; error_log stderr;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary}\n{rules} }}\n",
            encoding="utf-8",
        )
        process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(conf)])
        try:
            with socket.socket() as probe:
                until = time.monotonic() + 30
                while probe.connect_ex(("127.0.0.1", port)) and time.monotonic() < until:
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.mark.parametrize(
    ("status", "method", "path", "headers"),
    [
        (200, "GET", "/runs", {}),
        (200, "GET", "/runs", LINK),
        (200, "GET", "/graphql", {"sec-fetch-site": "same-origin"}),
        (200, "POST", "/graphql", {**JSON, **ORIGIN, "sec-fetch-site": "same-origin"}),
        (200, "POST", "/graphql", {"content-type": "application/json; charset=utf-8"}),
        (101, "GET", "/graphql", {**UPGRADE, **ORIGIN}),
        (403, "GET", "/runs", OTHER),
        (403, "GET", "/runs", {**LINK, "sec-fetch-dest": "iframe"}),
        (403, "GET", "/runs", {**LINK, "origin": "https://evil.test"}),
        (403, "GET", MUTATION, OTHER),
        (403, "POST", "/graphql", {**LINK, **JSON}),
        (403, "POST", "/graphql", {**JSON, "origin": "https://evil.test"}),
        (403, "POST", "/graphql", {**JSON, "origin": "null"}),
        (403, "POST", "/graphql", {**JSON, "sec-fetch-site": "same-site"}),
        (403, "GET", "/graphql", {**UPGRADE, "origin": "https://evil.test"}),
        (405, "GET", MUTATION, {}),
        (405, "GET", MUTATION.replace("?", "%0A?"), LINK),
        (405, "GET", f"/x/..{MUTATION}", LINK),
        (415, "POST", MUTATION, {"content-type": "text/plain; x=application/json"}),
        (415, "POST", MUTATION, {}),
    ],
)
def test_the_proxys_rules_close_the_ui_to_other_sites(
    proxy: int, status: int, method: str, path: str, headers: dict[str, str]
) -> None:
    allowed = {"authorization": f"Basic {base64.b64encode(b'me:hush').decode()}"}
    assert ask(proxy, method, path, NAME, {**headers, **allowed}).status == status


def test_the_proxy_asks_for_a_password_and_knows_one_name_only(proxy: int) -> None:
    assert ask(proxy, "GET", "/runs", NAME, {}).status == 401
    assert ask(proxy, "GET", "/runs", "evil.test", {}).status == 421
