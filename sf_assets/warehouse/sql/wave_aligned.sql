-- The current lists in order, each account with its place in the previous list (null: not in it).
SELECT l.series, CASE WHEN k.present THEN k.place END AS previous
FROM wave_list AS l
LEFT JOIN wave_match AS m ON m.series = l.series AND m.position = l.position
LEFT JOIN wave_known AS k ON k.series = m.series AND k.account_id = m.known_id
ORDER BY l.series, l.position
