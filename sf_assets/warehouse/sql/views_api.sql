-- Measures of the API's responses, to notice when the API changes.

CREATE OR REPLACE VIEW main.api_measures AS
WITH measured AS (
    SELECT s.*, c.order_agreement, CAST(s.measures ->> 'page_size' AS BIGINT) AS on_a_page,
        nullif(CAST(s.measures ->> 'accounts' AS BIGINT), 0) AS accounts,
        lag(CASE WHEN s.lookup_status = 'found' THEN s.reported_total END IGNORE NULLS) OVER (
            PARTITION BY s.relation, s.handle ORDER BY s.snapshot_date
        ) AS total_before
    FROM internal.snapshots AS s
    LEFT JOIN internal.comparisons AS c
        ON c.relation = s.relation AND c.handle = s.handle AND c.snapshot_date = s.snapshot_date
    WHERE s.source = 'api'
)
SELECT relation, handle, snapshot_date,
    -- The only page of a short list does not show the page size.
    CASE WHEN pages > 1 THEN on_a_page END AS page_size,
    coalesce(CAST(measures ->> 'no_number' AS BIGINT), 0) / accounts AS without_number,
    coalesce(CAST(measures ->> 'no_sec_uid' AS BIGINT), 0) / accounts AS without_sec_uid,
    coalesce(CAST(measures ->> 'repeated' AS BIGINT), 0) / accounts AS repeated,
    CAST(measures ->> 'fields' AS BIGINT) / accounts AS fields,
    CASE WHEN measures IS NOT NULL
        THEN coalesce(CAST(measures ->> 'new_fields' AS BIGINT), 0) / pages END AS new_fields,
    damaged_fields / accounts AS damaged_fields,
    CAST(measures ->> 'cached' AS BIGINT) / pages AS cached,
    CAST(measures ->> 'retries' AS BIGINT) / pages AS retries,
    CASE WHEN measures IS NOT NULL THEN coalesce(measures -> 'troubles', '{}') END AS troubles,
    CASE WHEN measures IS NOT NULL
        THEN epoch(finished_at - started_at) / pages END AS seconds,
    CASE WHEN total_before > 0 AND measures IS NOT NULL AND lookup_status = 'found'
        THEN abs(reported_total - total_before) / total_before END AS total_change,
    order_agreement
FROM measured WHERE pages > 0;

CREATE OR REPLACE VIEW main.api_days AS
SELECT snapshot_date, count(*) AS lists, median(page_size) AS page_size,
    median(without_number) AS without_number, median(without_sec_uid) AS without_sec_uid,
    median(repeated) AS repeated, median(fields) AS fields, avg(new_fields) AS new_fields,
    avg(damaged_fields) AS damaged_fields, avg(cached) AS cached, avg(retries) AS retries,
    median(seconds) AS seconds, median(total_change) AS total_change,
    median(order_agreement) AS order_agreement
FROM main.api_measures GROUP BY snapshot_date;
