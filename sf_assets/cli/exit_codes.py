"""Exit codes: success; some handles failed and the rest is stored; wrong usage or settings; the API
rejected the request (key or credits).
"""

FINE, SOME_FAILED, WRONG_USAGE, REFUSED = 0, 1, 2, 3
