-- Update the stored places of a list: `moved` has relation, handle, old and new place.
UPDATE internal.presences SET place = m.new
FROM moved AS m
WHERE presences.relation = m.relation AND presences.handle = m.handle AND place = m.old;
UPDATE internal.comparisons SET reach = m.new
FROM moved AS m
WHERE comparisons.relation = m.relation AND comparisons.handle = m.handle AND reach = m.old;
