-- Example queries: a name, a question and its SQL. `sf-assets query --example NAME` runs one.
-- {handle}, {tag} and {days=N} are replaced by --handle, --tag and --days; by default all, and N.

-- growth: How did each handle grow in the last week?
SELECT handle, max_by(followers_total, snapshot_date) AS followers, sum(followers_net) AS net,
    sum(followers_gained) AS gained, sum(followers_lost) AS lost
FROM follower_growth
WHERE snapshot_date > (SELECT max(snapshot_date) FROM follower_growth) - {days=7} AND {handle}
GROUP BY handle ORDER BY net DESC NULLS LAST;

-- who_left: Who left in the last week, and is it confirmed?
SELECT c.snapshot_date, c.handle, c.account_handle, a.display_name, a.followers, c.state, c.evidence
FROM follower_churn AS c LEFT JOIN accounts AS a USING (account_id)
WHERE c.change = 'lost' AND c.state <> 'retracted'
    AND c.snapshot_date > (SELECT max(snapshot_date) FROM snapshots) - {days=7} AND {c.handle}
ORDER BY c.snapshot_date DESC, c.handle, a.followers DESC NULLS LAST, c.account_handle;

-- who_came: Who came on the newest day, the largest first?
SELECT c.snapshot_date, c.handle, c.account_handle, a.display_name, a.followers, c.change
FROM follower_churn AS c LEFT JOIN accounts AS a USING (account_id)
WHERE c.change IN ('gained', 'returned')
    AND c.snapshot_date > (SELECT max(snapshot_date) FROM snapshots) - {days=1} AND {c.handle}
ORDER BY a.followers DESC NULLS LAST, c.handle, c.account_handle;

-- not_open: Which profiles are not open now, and since when?
SELECT s.handle, s.relation, s.lookup_status, max(c.changed_on) AS since
FROM snapshots AS s LEFT JOIN status_changes AS c USING (handle, relation)
WHERE s.lookup_status <> 'found' AND s.snapshot_date = (SELECT max(snapshot_date) FROM snapshots)
    AND {s.handle}
GROUP BY ALL ORDER BY since DESC NULLS LAST, s.handle, s.relation;

-- completeness: How many days of each list are complete, and how many show only its newest part?
SELECT relation, handle, completeness, count(*) AS days, max(snapshot_date) AS newest,
    max_by(listed, snapshot_date) AS listed, max_by(reported_total, snapshot_date) AS total
FROM snapshots WHERE {handle} GROUP BY ALL ORDER BY handle, relation, completeness;

-- notable: Which verified or large accounts came or left in the last 30 days?
SELECT snapshot_date, handle, relation, change, account_handle, verified, followers
FROM notable_changes
WHERE snapshot_date > (SELECT max(snapshot_date) FROM snapshots) - {days=30} AND {handle}
ORDER BY snapshot_date DESC, followers DESC NULLS LAST;

-- lost_mutuals: Which followers left although the handle followed them?
SELECT handle, snapshot_date, account_handle, state, followed_since, still_followed
FROM lost_mutuals
WHERE snapshot_date > (SELECT max(snapshot_date) FROM snapshots) - {days=90} AND {handle}
ORDER BY snapshot_date DESC, handle, account_handle;

-- not_following_back: Which accounts does a handle follow that provably do not follow back?
SELECT handle, account_handle, display_name, followers, followed_since, left_by
FROM not_following_back WHERE {handle} ORDER BY handle, followed_since, account_handle;

-- follow_back: How many accounts follow back, and how many are unknown?
SELECT handle, relation, listed, round(100 * coverage, 1) AS percent_shown, mutual, one_sided,
    unknown, round(100 * rate, 1) AS percent, round(100 * rate_low, 1) AS at_least,
    round(100 * rate_high, 1) AS at_most
FROM follow_back WHERE {handle} ORDER BY handle, relation;

-- renamed: Which accounts changed their handle in the last 30 days?
SELECT seen_on, account_id, from_handle, to_handle, handle, relation
FROM account_renames
WHERE seen_on > (SELECT max(snapshot_date) FROM snapshots) - {days=30} AND {handle}
ORDER BY seen_on DESC, handle, account_id;

-- audience: What are the followers like that are listed, came or left?
SELECT handle, segment, trait, "value", sum(accounts) AS accounts,
    round(100 * sum(accounts) / sum(sum(accounts)) OVER (PARTITION BY handle, segment, trait), 1)
        AS percent
FROM (
    SELECT * FROM audience_profile
    WHERE relation = 'followers' AND {handle}
        AND snapshot_date > (SELECT max(snapshot_date) FROM snapshots) - {days=7}
    QUALIFY segment <> 'listed'
        OR snapshot_date = max(snapshot_date) OVER (PARTITION BY handle, segment)
)
GROUP BY handle, segment, trait, "value" ORDER BY handle, segment, trait, "value";

-- overlap: Which tracked handles share the most followers?
SELECT handle, other_handle, shared, round(100 * share, 1) AS percent_of_handle
FROM audience_overlap WHERE handle < other_handle AND {handle}
ORDER BY shared DESC, handle, other_handle;

-- groups: How did each group grow in the last week, and how many of its handles had a total?
SELECT tag, snapshot_date, followers_total, handles_with_total, handles, followers_net,
    followers_gained, followers_lost, handles_compared
FROM group_growth
WHERE snapshot_date > (SELECT max(snapshot_date) FROM snapshots) - {days=7} AND {tag}
ORDER BY tag, snapshot_date;

-- reach: How many distinct accounts does each group reach?
SELECT tag, handles, handles_listed, accounts, shared_accounts,
    round(100 * overlap_share, 1) AS percent_shared, round(100 * coverage, 1) AS percent_shown
FROM group_reach WHERE {tag} ORDER BY accounts DESC NULLS LAST;

-- retention: How many of a week's new followers still follow weeks later?
SELECT handle, week, weeks_after, gained, still_listed, round(100 * retention, 1) AS percent
FROM weekly_retention WHERE {handle} ORDER BY handle, week, weeks_after;

-- tenure: How long did the lost accounts stay?
SELECT handle, count(*) AS lost, median(tenure_days) AS median_days,
    count(*) FILTER (is_lower_bound) AS there_before_us
FROM tenure_of_lost WHERE relation = 'followers' AND {handle}
GROUP BY handle ORDER BY lost DESC, handle;

-- cost: What does each handle cost per day?
SELECT handle, relation,
    round(sum(credits) / count(DISTINCT snapshot_date), 1) AS credits_a_day,
    sum(credits) AS credits, sum(pages) AS pages, sum(retries) AS retries
FROM credit_ledger WHERE {handle} GROUP BY ALL ORDER BY credits DESC, handle, relation;
