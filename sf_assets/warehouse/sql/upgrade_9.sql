-- From format 8 to 9: the table of retracted claims has the name of what it holds.
ALTER TABLE IF EXISTS internal.healings RENAME TO retractions;
