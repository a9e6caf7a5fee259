-- Record the comparisons, after which these snapshots count as derived.

DELETE FROM internal.comparisons USING chunk AS c
WHERE comparisons.relation = c.relation AND comparisons.handle = c.handle
    AND comparisons.snapshot_date = c.snapshot_date;

INSERT INTO internal.comparisons BY NAME
SELECT c.relation, c.handle, c.snapshot_date, c.attempt, c.pages,
    o.previous AS previous_date,
    CASE WHEN o.previous IS NOT NULL THEN o.common END AS common,
    CASE WHEN o.previous IS NOT NULL THEN o.chain END AS chain,
    CASE WHEN o.common > 0 THEN o.chain / o.common END AS order_agreement,
    o.losses, o.gains, o.reason, o.reach, o.unnamed
FROM out_comparisons AS o JOIN chunk AS c USING (listing)
UNION ALL BY NAME
SELECT relation, handle, snapshot_date, attempt, pages, 'unusable' AS losses, 'unusable' AS gains,
    CASE WHEN completeness = 'none' AND lookup_status = 'found' THEN 'Only the totals of this day are known.'
        WHEN lookup_status = 'found' THEN 'Nobody is listed although the total is not 0.'
        ELSE 'The profile was ' || replace(lookup_status, '_', ' ') || '.' END AS reason
FROM chunk WHERE NOT comparable
ORDER BY relation, handle, snapshot_date;
