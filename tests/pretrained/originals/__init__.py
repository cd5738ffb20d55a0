"""The published networks in their own names: a restatement for tests, written from the papers and their structure."""
