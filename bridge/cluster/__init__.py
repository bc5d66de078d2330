"""Everything that speaks to the API server; the only importer of ``kubernetes``. Objects stay plain JSON."""
