"""Several processes on one machine: what they do together, and what memory they share."""
