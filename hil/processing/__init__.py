"""Work over whole campaigns: many points, many workers."""
