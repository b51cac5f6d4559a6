"""The machines of a farm: its scheduler, its workers, and the process in which a worker makes steps."""
