-- One row is one page of `finished` with fields that the contract does not have, accounts aside.
SELECT relation, handle, page, CAST(extra AS VARCHAR) AS extra
FROM (
    SELECT f.relation, f.handle, p.page, json_merge_patch(p.body, JSON '{
        "data": {"followers": null, "accounts": null, "lookupStatus": null, "totalFollowers": null,
            "totalAccounts": null, "page": {"nextCursor": null, "hasMore": null}},
        "meta": {"requestId": null, "creditsCharged": null, "version": null, "cached": null}
    }') AS extra
    FROM read_json(
        getvariable('extra_files'),
        format = 'newline_delimited',
        filename = 'path',
        hive_partitioning = false,
        maximum_object_size = getvariable('longest_line'),
        columns = {kind: 'VARCHAR', attempt: 'INTEGER', page: 'BIGINT', body: 'JSON'}
    ) AS p
    JOIN finished AS f ON f.path = p.path AND f.attempt = p.attempt
    WHERE p.kind = 'page'
)
WHERE extra <> '{"data":{"page":{}},"meta":{}}'
ORDER BY ALL
