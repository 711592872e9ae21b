"""Published experiments run again: cases, tables, pictures, and the bars they are held to."""
