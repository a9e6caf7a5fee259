-- What is known of the series in `chunk_series`: one row is one account of a series, with its newest
-- presence and the loss that may still change.
-- Who was away and came back has several; nobody else's are held at once.
WITH many AS (
    SELECT c.series, m.account_id, max(m.first_seen) AS first_seen
    FROM internal.presences AS m
    JOIN begun AS c ON c.relation = m.relation AND c.handle = m.handle AND m.first_seen >= c.begun
    GROUP BY ALL HAVING count(*) > 1
),
newest AS NOT MATERIALIZED (
    SELECT c.series, c.begun, m.*
    FROM internal.presences AS m
    JOIN begun AS c ON c.relation = m.relation AND c.handle = m.handle AND m.first_seen >= c.begun
    ANTI JOIN many AS o
        ON o.series = c.series AND o.account_id = m.account_id AND o.first_seen > m.first_seen
),
numbered AS (
    SELECT series, account_id,
        row_number() OVER (PARTITION BY series ORDER BY first_seen, account_id) - 1 AS account
    FROM newest
),
losses AS (
    SELECT n.series, l.account_id, l.previous_date, l.snapshot_date, l.state, l.evidence,
        l.totals_agree, l.misses, l.confirmed_on, m.first_seen, m.last_seen, m.start_kind,
        m.followed_after, m.followed_before
    FROM internal.churn AS l
    JOIN newest AS n
        ON n.relation = l.relation AND n.handle = l.handle AND n.account_id = l.account_id
    JOIN internal.presences AS m
        ON m.relation = l.relation AND m.handle = l.handle AND m.account_id = l.account_id
        AND m.first_missed = l.snapshot_date
    WHERE l.change = 'lost' AND l.state <> 'retracted' AND l.snapshot_date >= n.begun
        AND (l.snapshot_date = n.first_missed OR n.undecided > 0)
    QUALIFY row_number() OVER (
        PARTITION BY n.series, l.account_id ORDER BY l.snapshot_date DESC
    ) = 1
)
SELECT n.series,
    a.account, n.account_id, n.account_handle, n.place, n.first_seen, n.last_seen, n.looked_on, n.start_kind,
    n.end_kind, n.first_missed, n.followed_after, n.followed_before, n.undecided,
    l.previous_date AS loss_from, l.snapshot_date AS loss_on, l.state AS loss_state,
    l.evidence AS loss_evidence, l.totals_agree, l.misses, l.first_seen AS loss_first,
    l.last_seen AS loss_last, l.start_kind AS loss_start, l.followed_after AS loss_after,
    l.followed_before AS loss_before, l.confirmed_on,
    n.account_id[1] BETWEEN '0' AND '9' AS number,
    starts_with(n.account_id, 'sec:')
        OR n.account_id IN (SELECT account_id FROM internal.ids) AS sec
FROM newest AS n
JOIN numbered AS a ON a.series = n.series AND a.account_id = n.account_id
LEFT JOIN losses AS l ON l.series = n.series AND l.account_id = n.account_id
