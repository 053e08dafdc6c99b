"""The production shape: what the files for Docker Compose say, seen without an engine."""
