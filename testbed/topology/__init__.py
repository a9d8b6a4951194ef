"""Labs as values: models and presets."""
