"""What moves: the tasks that send what waits, and the life of a client."""
