"""From a backend's operations to instructions, a file for each kind of operation."""
