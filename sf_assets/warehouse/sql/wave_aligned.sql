-- The current lists in order: each account with its place in the previous list, or, where it was in
-- an earlier list only, with its last place.
SELECT l.series, l.position, CASE WHEN k.present THEN k.place END AS previous,
    CASE WHEN NOT k.present THEN k.place END AS remembered
FROM wave_list AS l
LEFT JOIN wave_match AS m ON m.series = l.series AND m.position = l.position
LEFT JOIN wave_known AS k ON k.series = m.series AND k.account_id = m.known_id
ORDER BY l.series, l.position
