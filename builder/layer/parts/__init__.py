"""One layer as several, cut so that a change moves few of them."""
