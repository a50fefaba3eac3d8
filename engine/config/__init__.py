"""config.toml: schema, defaults, presets, edits, renamed keys, and errors that name the key."""
