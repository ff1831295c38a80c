"""One adapter a file: a tracker's payloads to events."""
