-- Write the results of the comparison from the `out_…` tables to the warehouse. Accounts are numbers
-- there; `named` has their ids, `listed` their handles.

-- Accounts that showed a better id than before.
CREATE OR REPLACE TEMP VIEW bettered AS
SELECT n.* FROM named AS n JOIN out_upgraded AS u USING (series, account);

UPDATE internal.presences SET account_id = b.account_id FROM bettered AS b
WHERE presences.relation = b.relation AND presences.handle = b.handle
    AND presences.account_id = b.old_id;
UPDATE internal.churn SET account_id = b.account_id FROM bettered AS b
WHERE churn.relation = b.relation AND churn.handle = b.handle AND churn.account_id = b.old_id;
UPDATE internal.retractions SET account_id = b.account_id FROM bettered AS b
WHERE retractions.relation = b.relation AND retractions.handle = b.handle
    AND retractions.account_id = b.old_id;
UPDATE internal.renames SET account_id = b.account_id FROM bettered AS b
WHERE renames.relation = b.relation AND renames.handle = b.handle AND renames.account_id = b.old_id;

DELETE FROM internal.presences USING out_dropped AS d JOIN named AS n USING (series, account)
WHERE presences.relation = n.relation AND presences.handle = n.handle
    AND presences.account_id = n.account_id AND presences.first_seen = d.day;

UPDATE internal.presences SET end_kind = 'beyond', first_missed = NULL
FROM (SELECT n.relation, n.handle, n.account_id, u.day
    FROM out_unclaimed AS u JOIN named AS n USING (series, account)) AS u
WHERE presences.relation = u.relation AND presences.handle = u.handle
    AND presences.account_id = u.account_id AND presences.first_seen = u.day;

CREATE OR REPLACE TEMP VIEW presences_out AS
SELECT n.relation, n.handle, n.account_id, o.*,
    coalesce(l.account_handle, CASE WHEN o.handle_entry < 0 THEN n.old_handle END, '')
        AS account_handle
FROM out_presences AS o
JOIN named AS n USING (series, account)
LEFT JOIN listed AS l ON l.entry = o.handle_entry;

UPDATE internal.presences
SET first_seen = o.first, last_seen = o.last, start_kind = o.start, end_kind = o."end",
    place = o.place, account_handle = o.account_handle, looked_on = o.looked,
    first_missed = o.missed, followed_after = o.after, followed_before = o.before,
    undecided = o.undecided
FROM presences_out AS o
WHERE o.stored IS NOT NULL AND presences.relation = o.relation AND presences.handle = o.handle
    AND presences.account_id = o.account_id AND presences.first_seen = o.stored;

INSERT INTO internal.presences BY NAME
SELECT relation, handle, account_id, first AS first_seen, last AS last_seen, start AS start_kind,
    "end" AS end_kind, place, account_handle, looked AS looked_on, missed AS first_missed,
    after AS followed_after, before AS followed_before, undecided
FROM presences_out WHERE stored IS NULL
ORDER BY series, first, place DESC;

-- The time of the follow, from imported lists.
UPDATE internal.presences SET followed_at = t.followed_at, followed_at_source = t.source
FROM (
    SELECT o.relation, o.handle, o.account_id, o.first, l.followed_at, s.source
    FROM presences_out AS o
    JOIN listed AS l ON l.entry = o.time_entry
    JOIN chunk AS c ON c.listing = l.listing
    JOIN internal.snapshots AS s
        ON s.relation = c.relation AND s.handle = c.handle AND s.snapshot_date = c.snapshot_date
) AS t
WHERE presences.relation = t.relation AND presences.handle = t.handle
    AND presences.account_id = t.account_id AND presences.first_seen = t.first;

DELETE FROM internal.churn USING out_dropped_losses AS d JOIN named AS n USING (series, account)
WHERE churn.relation = n.relation AND churn.handle = n.handle AND churn.account_id = n.account_id
    AND churn.change = 'lost' AND churn.snapshot_date = d.day;

UPDATE internal.churn
SET state = o.state, evidence = o.evidence, totals_agree = o.totals_agree, misses = o.misses,
    confirmed_on = o.confirmed
FROM (SELECT n.relation, n.handle, n.account_id, o.* FROM out_losses AS o
    JOIN named AS n USING (series, account)) AS o
WHERE o.stored IS NOT NULL AND churn.relation = o.relation AND churn.handle = o.handle
    AND churn.account_id = o.account_id AND churn.change = 'lost' AND churn.snapshot_date = o.stored;

-- An account without an id that is a former account: a return instead of a gain.
UPDATE internal.churn SET account_id = n.account_id, change = 'returned'
FROM out_moved_gains AS g
JOIN named AS o ON o.series = g.series AND o.account = g.account
JOIN named AS n ON n.series = g.series AND n.account = g.new_account
WHERE churn.relation = o.relation AND churn.handle = o.handle AND churn.account_id = o.account_id
    AND churn.change IN ('gained', 'returned') AND churn.snapshot_date = g.day;

INSERT INTO internal.churn BY NAME
SELECT n.relation, n.handle, g.day AS snapshot_date, g.previous AS previous_date, n.account_id,
    coalesce(l.account_handle, n.old_handle) AS account_handle, g.change, 'confirmed' AS state,
    g.evidence
FROM out_gains AS g
JOIN named AS n USING (series, account)
LEFT JOIN listed AS l ON l.entry = g.handle_entry
UNION ALL BY NAME
SELECT n.relation, n.handle, o.day AS snapshot_date, o.previous AS previous_date, n.account_id,
    coalesce(l.account_handle, n.old_handle) AS account_handle, 'lost' AS change, o.state,
    o.evidence, o.totals_agree, o.misses, o.confirmed AS confirmed_on
FROM out_losses AS o
JOIN named AS n USING (series, account)
LEFT JOIN listed AS l ON l.entry = o.handle_entry
WHERE o.stored IS NULL
ORDER BY ALL;

INSERT INTO internal.retractions BY NAME
SELECT n.relation, n.handle, n.account_id, h.missed_from, h.missed_to
FROM out_healed AS h JOIN named AS n USING (series, account);

INSERT INTO internal.renames BY NAME
SELECT n.relation, n.handle, n.account_id, coalesce(f.account_handle, n.old_handle) AS from_handle,
    t.account_handle AS to_handle, r.day AS seen_on
FROM out_renamed AS r
JOIN named AS n USING (series, account)
JOIN listed AS t ON t.entry = r.to_entry
LEFT JOIN listed AS f ON f.entry = r.from_entry;
