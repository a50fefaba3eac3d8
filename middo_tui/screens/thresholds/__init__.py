"""The Thresholds screen: where each axis selects."""
