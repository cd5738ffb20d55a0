"""What the two commands do: from options to settings, and from settings to a finished study."""
