"""Charts and Markdown that are harmless, whatever strangers call themselves."""
