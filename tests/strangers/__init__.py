"""Files as a hostile stranger would send them, for each command that reads some."""
