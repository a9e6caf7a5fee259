"""docs/assistants.md: the published file through a DuckDB MCP server of PyPI, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .homes import fill

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "assistants.md").read_text("utf-8")
# It wants a DuckDB of its own, so it lives in another environment; `.ci/run` makes that.
SERVER = os.environ.get("SF_ASSETS_TESTS_MCP_SERVER") or shutil.which("mcp-server-motherduck")


class Session:
    """A client of a server on standard input and output."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=folder,
        )  # fmt: skip
        self.number = 0
        client = {"name": "test", "version": "1"}
        self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self._send({"method": "notifications/initialized"})

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def ask(self, method: str, **params: Any) -> Any:
        assert self.process.stdout is not None
        self.number += 1
        self._send({"id": self.number, "method": method, "params": params})
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self.number:
                return answer["result"]
        raise AssertionError("the server ended")

    def query(self, sql: str) -> str:
        result = self.ask("tools/call", name="execute_query", arguments={"sql": sql})
        return json.dumps(result, ensure_ascii=False)


@pytest.mark.skipif(SERVER is None, reason="needs mcp-server-motherduck; .ci/run has it")
def test_an_assistant_asks_the_published_file_and_nothing_else(tmp_path: Path) -> None:
    home = fill(tmp_path / "home", 3)
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    server = json.loads(block)["mcpServers"]["sf_assets"]
    assert Path(server["command"]).name == "mcp-server-motherduck"
    where = str(home.published)
    arguments = [where if one.startswith("/home/") else one for one in server["args"]]
    (tmp_path / "secret.csv").write_text("word\nhush\n")
    session = Session([SERVER or "", *arguments], tmp_path)
    try:
        assert "execute_query" in json.dumps(session.ask("tools/list"))
        # Its columns are explained, its questions answered.
        assert "fan13" in session.query(
            "SELECT account_handle FROM follower_churn WHERE change = 'gained' ORDER BY ALL"
        ) or "fan12" in session.query("SELECT account_handle FROM accounts ORDER BY ALL")
        assert "Number of listed accounts" in session.query(
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'snapshots'"
        )
        for forbidden in (
            f"FROM '{tmp_path}/secret.csv'",
            "DELETE FROM handles",
            f"COPY handles TO '{tmp_path}/out.csv'",
            "SET enable_external_access = true",
        ):
            said = session.query(forbidden)
            assert "rror" in said, forbidden
            assert "hush" not in said
        assert not (tmp_path / "out.csv").exists()
    finally:
        session.process.kill()
        session.process.communicate()


def test_the_page_warns_of_texts_of_strangers() -> None:
    assert "enable_external_access = false" in PAGE
    assert "--read-write" in PAGE
    assert "texts of strangers" in PAGE
