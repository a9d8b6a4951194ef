"""Labs of containers; `testbed.backends.containers.lab` has the backend."""
