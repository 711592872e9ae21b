"""Speed of every stage on this machine, beside peers that are installed and the machine's own limit."""
