"""TRL's trainer, set up as config.toml says."""
