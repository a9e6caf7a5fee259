-- For SQL of strangers: nothing but the open file, nothing that fills the disk, no way back.
SET python_enable_replacements = false;
SET allow_persistent_secrets = false;
SET temp_directory = '';
SET enable_external_access = false;
SET lock_configuration = true;
