-- The events and notes of $handles since $first: one row per handle and day, with the handle's tags.
SELECT m.*, h.tags
FROM (
    SELECT snapshot_date AS first_day, snapshot_date AS last_day, handle, kind,
        CASE WHEN kind = 'milestone' THEN format('{:,}', milestone) || ' followers'
            WHEN kind = 'purge' THEN format('{:,}', accounts) || ' left'
            ELSE format('{:,}', accounts) || ' came' END AS summary,
        CAST(NULL AS DOUBLE) AS stayed, CAST(NULL AS DOUBLE) AS others_stayed
    FROM main.events WHERE snapshot_date >= $first AND list_contains($handles, handle)
    UNION ALL
    SELECT n.first_day, n.last_day, a.handle, 'note', n."text", r.retention, o.retention
    FROM main.annotations AS n
    JOIN internal.annotated AS a ON a.annotation = n.annotation
    LEFT JOIN main.annotation_retention AS r
        ON r.annotation = n.annotation AND r.of_these_days AND r.days_after = 7
    LEFT JOIN main.annotation_retention AS o
        ON o.annotation = n.annotation AND NOT o.of_these_days AND o.days_after = 7
    WHERE n.last_day >= $first AND list_contains($handles, a.handle)
) AS m
LEFT JOIN main.handles AS h ON h.handle = m.handle
ORDER BY m.first_day, m.handle, m.kind
