"""The names that bridge puts on Kubernetes objects: how a session's traces are found, by bridge and by the keeper."""

PREFIX = "bridge.internal/"
SESSION_LABEL = PREFIX + "session"
"""On every object of a session; while a Service is narrowed, in its selector."""
UNDO_ANNOTATION = PREFIX + "undo"
"""On the target: the undo record."""
