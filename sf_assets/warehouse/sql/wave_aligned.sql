-- The current lists in order: each account with its place in the previous list, or, where it was in
-- an earlier list only, with its last place.
SELECT l.series, l.entry, l.position, CASE WHEN k.present THEN k.place END AS previous,
    CASE WHEN NOT k.present THEN k.place END AS remembered
FROM wave_list AS l
LEFT JOIN wave_match AS m ON m.entry = l.entry
LEFT JOIN wave_known AS k ON k.known = m.known
ORDER BY l.series, l.position
