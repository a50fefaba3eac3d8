"""TRL's trainer, configured from config.toml."""
