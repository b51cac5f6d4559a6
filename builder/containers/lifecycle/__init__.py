"""The life of containers beyond the command that made them: record, supervisor, log, attachment, processes."""
