"""Does a weight-sharing search find a good network? Judged by a table that no search has read.

Each method searches on real images with a small proxy network for the same processor time; what
it found is then looked up in the embedded table of fully trained networks. See ``__main__``.
"""
