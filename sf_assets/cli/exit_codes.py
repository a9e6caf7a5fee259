"""What a command's exit says.

Fine; some handles failed, the rest is stored; wrong usage or settings; the vendor refused us.
"""

FINE, SOME_FAILED, WRONG_USAGE, REFUSED = 0, 1, 2, 3
