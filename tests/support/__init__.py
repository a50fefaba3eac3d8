"""What several tests share: tiny real models and projects, real servers that misbehave, a real terminal."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
