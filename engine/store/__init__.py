"""One SQLite file holds everything the loop knows. Readers need only the standard library.

- A sample's id is 63 bits of its content's hash (with a copy number for exact duplicates), so rows are matched by
  content, never by list position.
- A merge can be undone (``unmerge``) until the worker opens the next round. Both ask in one transaction whether the
  other was first.
- Nothing holds the one writer for long, but an import and a merge, which are whole or not at all: neighbourhoods are
  saved in parts, and the index of words follows the samples (``search``): triggers note what is to be indexed, the
  worker indexes 500 samples at a time, and a search says while it is not complete.
- What is held out is decided when data come in (``prompt_keys``); training, evaluation, verification and the merge only
  look at keys.
- Folders are made 0700 and files 0600 (``permissions``), and what libraries wrote is tightened at the end of every
  group. The umask stays as it is, for the Hub's cache and for exports.
"""
