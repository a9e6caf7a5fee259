-- One row is one listed account of `finished` with fields that the contract does not have, as JSON.
SELECT series, place_read, CAST(extra AS VARCHAR) AS extra
FROM (
    SELECT series, place_read, json_merge_patch(
        json_merge_patch(a, CASE WHEN relation = 'followers' THEN JSON '{
            "handle": null, "displayName": null, "avatarUrl": null, "avatarUrls": null,
            "platformUserId": null, "secUid": null, "bio": null, "verified": null,
            "privateAccount": null, "metrics": null
        }' ELSE JSON '{
            "handle": null, "displayName": null, "bio": null, "avatarUrl": null, "profileUrl": null,
            "verified": null, "metrics": null, "platformUserId": null, "secUid": null,
            "privateAccount": null, "region": null, "language": null, "accountCreatedAt": null,
            "details": null
        }' END),
        CASE WHEN metrics <> '{}' THEN json_object('metrics', metrics) ELSE JSON '{}' END,
        CASE WHEN relation = 'followers' AND avatars <> '{}'
            THEN json_object('avatarUrls', avatars) ELSE JSON '{}' END
    ) AS extra
    FROM (
        SELECT series, relation, place_read, a,
            json_merge_patch(coalesce(a -> 'metrics', JSON '{}'),
                CASE WHEN relation = 'followers' THEN JSON '{"followers": null, "following": null}'
                    ELSE JSON '{"followers": null, "following": null, "posts": null}' END
            ) AS metrics,
            json_merge_patch(coalesce(a -> 'avatarUrls', JSON '{}'),
                JSON '{"large": null, "medium": null, "thumb": null}') AS avatars
        FROM (
            SELECT f.series, f.relation,
                unnest(coalesce(p.body.data.followers, p.body.data.accounts)) AS a,
                p.page * 1000000 + generate_subscripts(
                    coalesce(p.body.data.followers, p.body.data.accounts), 1
                ) AS place_read
            FROM read_json(
                getvariable('extra_files'),
                format = 'newline_delimited',
                filename = 'path',
                hive_partitioning = false,
                maximum_object_size = getvariable('longest_line'),
                columns = {
                    kind: 'VARCHAR', attempt: 'INTEGER', page: 'BIGINT',
                    body: 'STRUCT(data STRUCT(followers JSON[], accounts JSON[]))'
                }
            ) AS p
            JOIN finished AS f ON f.path = p.path AND f.attempt = p.attempt
            WHERE p.kind = 'page'
        )
    )
)
WHERE extra <> '{}'
