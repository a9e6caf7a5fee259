-- One row is one account of `known` as the comparison takes it: numbers only, days from 1970 on.
SELECT series, account, hash(account_id) AS key, hash(account_handle) AS handle, number, sec, place,
    last_seen IS NULL AS present, first_seen - DATE '1970-01-01' AS first,
    last_seen - DATE '1970-01-01' AS last,
    coalesce(looked_on, last_seen) - DATE '1970-01-01' AS looked,
    list_position(['baseline', 'gained', 'returned', 'revealed'], start_kind) - 1 AS start,
    coalesce(list_position(['lost', 'beyond'], end_kind), 0) AS "end",
    first_missed - DATE '1970-01-01' AS missed,
    followed_after - DATE '1970-01-01' AS after, followed_before - DATE '1970-01-01' AS before,
    coalesce(undecided, 0) AS undecided,
    loss_from - DATE '1970-01-01' AS loss_from, loss_on - DATE '1970-01-01' AS loss_on,
    coalesce(list_position(['provisional', 'confirmed'], loss_state), 0) AS loss_state,
    CASE WHEN contains(loss_evidence, 'exhaustive') THEN 1 ELSE 0 END
        + CASE WHEN contains(loss_evidence, 'order') THEN 2 ELSE 0 END
        + CASE WHEN contains(loss_evidence, 'other_list') THEN 4 ELSE 0 END AS loss_proof,
    coalesce(misses, 0) AS loss_misses, coalesce(CAST(totals_agree AS INTEGER), -1) AS loss_agree,
    loss_first - DATE '1970-01-01' AS loss_first, loss_last - DATE '1970-01-01' AS loss_last,
    coalesce(list_position(['baseline', 'gained', 'returned', 'revealed'], loss_start) - 1, 0)
        AS loss_start,
    loss_after - DATE '1970-01-01' AS loss_after, loss_before - DATE '1970-01-01' AS loss_before,
    confirmed_on - DATE '1970-01-01' AS loss_confirmed
FROM known ORDER BY series, account
