"""Series: the fold from stored rows to totals, label caps, and their exposition."""
