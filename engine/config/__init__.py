"""config.toml: its schema, defaults and presets, editing it, and errors that name the key."""
