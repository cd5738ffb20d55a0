"""What commands do once their options are found to be right, in modules that take seconds to import."""
