"""Imports httpx without its own command line, which imports rich and Pygments (0.1 s of a start).

from sf_assets.social_fetch.lean_httpx import httpx
"""

import sys

if "httpx" in sys.modules:
    import httpx as httpx
else:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    import httpx as httpx

    del sys.modules["httpx._main"]
