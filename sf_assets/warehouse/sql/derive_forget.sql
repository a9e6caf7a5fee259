-- Delete all derived rows of the series in `forgotten`, to replay them from the archive.

DELETE FROM internal.comparisons USING forgotten AS f
WHERE comparisons.relation = f.relation AND comparisons.handle = f.handle;
DELETE FROM internal.presences USING forgotten AS f
WHERE presences.relation = f.relation AND presences.handle = f.handle;
DELETE FROM internal.churn USING forgotten AS f
WHERE churn.relation = f.relation AND churn.handle = f.handle;
DELETE FROM internal.retractions USING forgotten AS f
WHERE retractions.relation = f.relation AND retractions.handle = f.handle;
DELETE FROM internal.renames USING forgotten AS f
WHERE renames.relation = f.relation AND renames.handle = f.handle;
DELETE FROM internal.profile_counts USING forgotten AS f
WHERE profile_counts.relation = f.relation AND profile_counts.handle = f.handle;
DELETE FROM internal.churn_profiles USING forgotten AS f
WHERE churn_profiles.relation = f.relation AND churn_profiles.handle = f.handle;
