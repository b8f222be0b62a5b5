"""Results as pages, tables and charts that a person reads."""
