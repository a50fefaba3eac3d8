"""What select would choose at other thresholds, within a millisecond, for the Thresholds screen.

A process of its own prepares what the screen shows (``build``, with numpy): sorted values, ranks and bit planes
(Roaring bitmaps) in a file without a name, which the app maps (``counts``, ``bitplanes``). The process ends before the
first key; the app answers each key from the planes, with numbers equal to the select stage's.
"""
