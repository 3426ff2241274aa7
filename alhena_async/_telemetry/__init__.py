"""What a client tells of itself: counts, lines in the log, calls of observers."""
