"""What waits: lanes, room, deadlines, folding. No task and no clock: `now` is an argument."""
