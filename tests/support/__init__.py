"""What several test files share; on the import path as `support` (see pyproject.toml)."""
