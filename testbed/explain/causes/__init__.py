"""From a scene to its cause: one module for each kind of reason."""
