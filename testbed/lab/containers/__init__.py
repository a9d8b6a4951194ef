"""Labs of containers; `testbed.lab.containers.lab` has the backend."""
