"""From a cell's evidence to a short, true story: why this pair got through, or did not."""
