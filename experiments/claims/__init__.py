"""From the results to claims, verdicts and the page."""
