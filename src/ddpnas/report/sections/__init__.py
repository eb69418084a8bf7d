"""The sections of the page: one file each, which says what question of the reader it answers."""
