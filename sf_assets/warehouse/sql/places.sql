-- One row is one stored place of a list.
SELECT place FROM internal.presences
WHERE relation = $relation AND handle = $handle AND place IS NOT NULL
UNION
SELECT reach FROM internal.comparisons
WHERE relation = $relation AND handle = $handle AND isfinite(reach)
