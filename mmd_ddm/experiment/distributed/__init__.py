"""Everything of Ray, and processes of one machine."""
