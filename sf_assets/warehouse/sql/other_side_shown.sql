-- One row is one of the lists in `other_side` that shows the tracked handle it is asked about.
SELECT DISTINCT o.listing, o.other_handle
FROM other_side AS o
JOIN other_archived AS p
    ON p.path = o.path AND p.relation = o.other_relation AND p.handle = o.other_handle
    AND p.snapshot_date = o.snapshot_date AND p.attempt = o.attempt
    AND lower(p.account_handle) = o.handle
