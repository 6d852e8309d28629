"""What each gradient method costs: time and memory of a step, behind a gate."""
