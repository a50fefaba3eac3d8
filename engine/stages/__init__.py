"""One file per stage, each with one public ``run(ctx)``. The order is in ``engine.loop``."""
