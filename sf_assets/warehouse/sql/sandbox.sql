-- Restrictions for untrusted SQL: only the open file, no writes to the disk, no way to lift them.
SET python_enable_replacements = false;
SET allow_persistent_secrets = false;
SET temp_directory = '';
SET enable_external_access = false;
SET lock_configuration = true;
