"""What select would choose at other thresholds, within a millisecond, for the Thresholds screen."""
