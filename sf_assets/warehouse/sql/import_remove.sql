-- Remove an import; all derived tables are derived again from the rest.
DELETE FROM internal.snapshots WHERE source = getvariable('import_source');
DELETE FROM internal.comparisons;
DELETE FROM internal.presences;
DELETE FROM internal.churn;
DELETE FROM internal.retractions;
DELETE FROM internal.renames;
DELETE FROM internal.ids;
DELETE FROM internal.stored_profiles;
DELETE FROM main.follower_growth;
DELETE FROM main.status_changes;
