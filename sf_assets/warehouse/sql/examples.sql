-- Questions people ask, each a comment and its SQL; `sf-assets query --examples` prints them.

-- How did each handle grow in the last week?
SELECT handle, max_by(followers_total, snapshot_date) AS followers, sum(followers_net) AS net,
    sum(followers_gained) AS gained, sum(followers_lost) AS lost
FROM follower_growth
WHERE snapshot_date > (SELECT max(snapshot_date) FROM follower_growth) - 7
GROUP BY handle ORDER BY net DESC NULLS LAST;

-- Who came and who left on the newest day, the largest first?
SELECT c.handle, c.change, c.account_handle, a.display_name, a.followers, c.state
FROM follower_churn AS c LEFT JOIN accounts AS a USING (account_id)
WHERE c.snapshot_date = (SELECT max(snapshot_date) FROM follower_churn) AND c.state <> 'retracted'
ORDER BY a.followers DESC NULLS LAST LIMIT 50;

-- Which profiles are not open now, and since when?
SELECT s.handle, s.relation, s.lookup_status, max(c.changed_on) AS since
FROM snapshots AS s LEFT JOIN status_changes AS c USING (handle, relation)
WHERE s.lookup_status <> 'found' AND s.snapshot_date = (SELECT max(snapshot_date) FROM snapshots)
GROUP BY ALL ORDER BY since DESC NULLS LAST, s.handle;

-- Which days of a list are complete, which show only its newest part?
SELECT relation, handle, completeness, count(*) AS days, max(snapshot_date) AS newest,
    max_by(listed, snapshot_date) AS listed, max_by(reported_total, snapshot_date) AS total
FROM snapshots GROUP BY ALL ORDER BY handle, relation, completeness;

-- Which verified or large accounts came or left in the last 30 days?
SELECT snapshot_date, handle, relation, change, account_handle, verified, followers
FROM notable_changes
WHERE snapshot_date > (SELECT max(snapshot_date) FROM snapshots) - 30
ORDER BY snapshot_date DESC, followers DESC NULLS LAST LIMIT 50;

-- Which followers left although the handle follows them?
SELECT handle, snapshot_date, account_handle, followed_since, still_followed
FROM lost_mutuals ORDER BY snapshot_date DESC, handle LIMIT 50;

-- Which tracked handles share the most followers?
SELECT handle, other_handle, shared, round(100 * share, 1) AS percent_of_handle
FROM audience_overlap WHERE handle < other_handle ORDER BY shared DESC LIMIT 20;

-- How many of a week's new followers are still there weeks later?
SELECT handle, week, weeks_after, gained, still_listed, round(100 * retention, 1) AS percent
FROM weekly_retention ORDER BY handle, week, weeks_after;

-- How long had those stayed who left?
SELECT handle, count(*) AS lost, median(tenure_days) AS median_days,
    count(*) FILTER (is_lower_bound) AS there_before_us
FROM tenure_of_lost WHERE relation = 'followers' GROUP BY handle ORDER BY lost DESC;

-- What does each handle cost a day?
SELECT handle, relation,
    round(sum(credits) / count(DISTINCT snapshot_date), 1) AS credits_a_day,
    sum(credits) AS credits, sum(pages) AS pages, sum(retries) AS retries
FROM credit_ledger GROUP BY ALL ORDER BY credits DESC;
