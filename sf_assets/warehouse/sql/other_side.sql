-- One row is one tracked profile X that the series of a listing in `chunk` knows and this listing does
-- not show, with X's own list of the other relation on the same day: whether it shows the tracked
-- handle decides whether X follows it (or is followed by it), whatever this listing shows.
SELECT DISTINCT c.listing, c.handle, s.handle AS other_handle, s.relation AS other_relation,
    s.snapshot_date, s.attempt, s.exhaustive, s.archive_file
FROM chunk AS c
JOIN (
    SELECT series, account_handle FROM known_ids
    UNION
    SELECT series, account_handle FROM listed
) AS k ON k.series = c.series
JOIN internal.snapshots AS s
    ON s.handle = k.account_handle AND s.relation <> c.relation
    AND s.snapshot_date = c.snapshot_date AND s.lookup_status = 'found'
WHERE c.comparable AND s.handle <> c.handle
    AND NOT EXISTS (
        FROM listed AS l WHERE l.listing = c.listing AND l.account_handle = s.handle
    )
ORDER BY ALL
