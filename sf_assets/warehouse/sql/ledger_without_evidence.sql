-- One row is a loaded attempt or balance that differs from the archive.
SELECT l.handle || ' ' || l.relation || ' ' || l.snapshot_date || ', attempt ' || l.attempt AS name
FROM main.credit_ledger AS l
WHERE NOT EXISTS (
    FROM evidence_paid AS e
    WHERE e.relation = l.relation AND e.handle = l.handle AND e.snapshot_date = l.snapshot_date
        AND e.attempt = l.attempt AND (
            e.credits > l.credits
            OR (
                e.credits = l.credits AND e.pages = l.pages AND e.run_id = l.run_id
                AND CAST(e.started_at AS TIMESTAMPTZ) = l.started_at
                AND e.cached = l.cached AND e.retries = l.retries AND e.unread = l.unread
            )
        )
)
UNION ALL
SELECT 'the balance after the run ' || b.run_id
FROM main.credit_balances AS b
WHERE NOT EXISTS (
    FROM evidence_balances AS e
    WHERE e.run_id = b.run_id AND e.snapshot_date = b.snapshot_date
        AND CAST(e.asked_at AS TIMESTAMPTZ) = b.asked_at
        AND e.balance_before = b.balance_before AND e.balance_after = b.balance_after
        AND e.credits = b.credits
        AND b.unexplained = b.balance_before - b.balance_after - b.credits
)
ORDER BY ALL;
