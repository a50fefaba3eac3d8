"""Dataset files in and out.

``read`` turns a file into samples and rejects: a row that cannot be used is kept with its file, number and
reason, never dropped silently and never an error. Only a file that cannot be read at all is one. ``write`` is
the way back; what a format cannot hold is an error that names the sample, so nothing is lost silently there
either.

source.py is what is read as one dataset. files.py, with streams.py, encodings.py, jsonrows.py, tables.py and
csvrows.py, yields raw rows; parsing.py makes each a conversation by the columns of its format (shapes.py) and its turns
(turns.py, calls.py, media.py); hints.py says which column is which; reading.py puts them together. shaping.py,
export.py, folders.py and arrow.py write; card.py and llama_factory.py describe what was written.
"""

from __future__ import annotations

from engine.formats.export import EXPORTS, write
from engine.formats.folders import FOLDERS
from engine.formats.reading import Imported, Reject, read
from engine.formats.source import Source, source_of

__all__ = ["EXPORTS", "FOLDERS", "Imported", "Reject", "Source", "read", "source_of", "write"]
