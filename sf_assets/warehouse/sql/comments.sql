-- What one row of each table, view and macro is; columns.yaml says what their columns are.

COMMENT ON VIEW main.snapshots IS 'One row is one relation of one handle on one UTC day.';
COMMENT ON VIEW main.imports IS 'One row is one file that was imported, for one list.';
COMMENT ON VIEW main.about IS 'One row: which version made this, and how fresh it is.';
COMMENT ON VIEW main.follower_snapshots IS 'One row is the follower list of one handle on one UTC day.';
COMMENT ON VIEW main.following_snapshots IS 'One row is the following list of one handle on one UTC day.';
COMMENT ON VIEW main.list_days IS 'One row is one account in a list of a day.';
COMMENT ON VIEW main.memberships IS 'One row is one unbroken presence of an account in a list.';
COMMENT ON VIEW main.follower_churn IS 'One row is one proved change of a follower list.';
COMMENT ON VIEW main.following_churn IS 'One row is one proved change of a following list.';
COMMENT ON VIEW main.comparisons IS 'One row is one snapshot against the latest earlier usable one: what it allows to claim.';
COMMENT ON VIEW main.account_renames IS 'One row is one change of an account''s handle, seen in a tracked list.';
COMMENT ON VIEW main.accounts IS 'One row is the newest known profile of an account.';
COMMENT ON VIEW main.mutuals IS 'One row is one account that follows a handle and is followed back, by the newest lists.';
COMMENT ON VIEW main.lost_mutuals IS 'One row is one lost follower whom the handle had followed back.';
COMMENT ON VIEW main.notable_changes IS 'One row is one change by an account that is verified or has 10,000 followers or more.';
COMMENT ON VIEW main.audience_overlap IS 'One row is two tracked handles with followers in common, by the newest lists.';
COMMENT ON VIEW main.weekly_retention IS 'One row is the new followers of one handle and week, so many weeks later.';
COMMENT ON VIEW main.tenure_of_lost IS 'One row is one lost account and how long it had stayed.';
COMMENT ON TABLE main.follower_growth IS 'One row is one handle on one UTC day: totals, gains, losses, averages.';
COMMENT ON TABLE main.status_changes IS 'One row is one change of a lookup status between two snapshots of one list.';
COMMENT ON MACRO TABLE main.followers_on IS 'One row is one account in the follower list as it stood on a day.';
COMMENT ON MACRO TABLE main.following_on IS 'One row is one account in the following list as it stood on a day.';
COMMENT ON MACRO TABLE main.churn_between IS 'One row is one account that came or left after one day, up to another.';
COMMENT ON TABLE main.credit_ledger IS 'One row is one attempt at a snapshot and what it cost.';
COMMENT ON TABLE main.credit_balances IS 'One row is one run that asked for lists: the balance before and after it.';
COMMENT ON TABLE main.handles IS 'One row is one handle that is or was tracked.';
