"""Decisions, pure: the world comes in as arguments (JSON, bytes, time) and a value goes out. No I/O in here."""
