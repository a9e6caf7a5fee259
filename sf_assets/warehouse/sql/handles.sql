-- Update `handles` from `tracked`, the handles in handles.yaml; run_day is the day of the run. A handle
-- that is no longer there keeps its last tags, relations and depth.

CREATE OR REPLACE TEMP TABLE handles_now AS
WITH seen AS (
    SELECT handle, list(DISTINCT relation ORDER BY relation) AS relations,
        min(snapshot_date) AS first_day, max(snapshot_date) AS last_day
    FROM internal.snapshots WHERE source = 'api' GROUP BY handle
)
SELECT handle,
    CASE WHEN t.handle IS NULL THEN coalesce(h.tags, []) ELSE t.tags END AS tags,
    coalesce(t.relations, h.relations, s.relations) AS relations,
    coalesce(t.depth, h.depth) AS depth,
    coalesce(least(s.first_day, h.tracked_since), getvariable('run_day')) AS tracked_since,
    CASE WHEN t.handle IS NULL THEN coalesce(s.last_day, h.tracked_until, getvariable('run_day')) END
        AS tracked_until,
    CASE WHEN t.handle IS NULL THEN coalesce(h.continued, []) ELSE t.continued END AS continued
FROM tracked AS t
FULL JOIN seen AS s USING (handle)
FULL JOIN main.handles AS h USING (handle);

-- Only changed rows are written; most days change nothing.
CREATE OR REPLACE TEMP TABLE handles_changed AS
FROM handles_now EXCEPT FROM main.handles;

DELETE FROM main.handles USING handles_changed AS c WHERE handles.handle = c.handle;
INSERT INTO main.handles FROM handles_changed ORDER BY handle;
